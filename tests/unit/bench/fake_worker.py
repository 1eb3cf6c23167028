"""A real, tiny worker process: it computes nothing, and breaks the protocol's promises on demand."""

import os
import sys
import time

from bench.workers.serve import Setup, Task, Unsupported, serve


class FakeWorker:
    """Answers at once; `options["step_s"]` makes each token take that long."""

    def load(self, setup: Setup):
        if setup.model == "missing":
            raise FileNotFoundError("no such model")
        self.step_s = setup.options.get("step_s", 0.0)
        self.keeps = setup.options.get("keeps", True)
        print("a library that writes to stdout")
        return {"version": "1", "threads": setup.threads, "context_tokens": setup.context_tokens}

    def encode(self, text):
        return [len(word) for word in text.split()]

    def generate(self, task: Task, stamp):
        if task.keep and not self.keeps:
            raise Unsupported("nothing is kept")
        for _ in range(task.tokens):
            time.sleep(self.step_s)
            stamp()
        return {"accepted": task.draft_tokens or 0}

    def bandwidth(self, passes):
        return {"bytes_per_s": 1e9 * passes}

    def digest(self, ids, script, drafts, pieces):
        return {"sha256": "0" * 64, "tokens": len(script), "accepted": 0, "proposed": 0}

    def die(self):
        print("out of luck", file=sys.stderr, flush=True)
        os._exit(3)

    def sleep(self, seconds):
        time.sleep(seconds)
        return "awake"


if __name__ == "__main__":
    serve(FakeWorker())
