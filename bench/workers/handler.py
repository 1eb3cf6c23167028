"""The whole Lambda handler: imported as the runtime imports it, asked with a recorded event, streaming."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from bench.workers.serve import Setup, Task, Unsupported, serve

EVENT = Path("infra/events/chat-stream.json")


class Context:
    """Lambda's context object, as far as the handler looks at it."""

    aws_request_id = "00000000-0000-4000-8000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        """As long as a function may run."""
        return 900_000


class Handler:
    """`lambda_handler`, called in this process."""

    def load(self, setup: Setup) -> dict[str, Any]:
        """Import the function: it loads the bundle while it is imported."""
        os.environ["DORMOUSE_BUNDLE"] = setup.model
        os.environ["DORMOUSE_SESSIONS"] = setup.options["sessions"]
        os.environ["DORMOUSE_THREADS"] = str(setup.threads)
        os.environ["DORMOUSE_STREAMING"] = "1"
        self.event = json.loads(EVENT.read_text())
        self.name = json.loads((Path(setup.model) / "bundle.json").read_text())["name"]
        from handler.function import lambda_handler

        self.answer = lambda_handler
        return {"version": "this tree"}

    def first(self, text: str, prompt_tokens: int) -> dict[str, Any]:
        """Stream one token; stamps the first byte of the body and the token's own event."""
        del prompt_tokens  # the text says it: a handler is given messages, not ids
        body = {
            "model": self.name,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": 1,
            "temperature": 0,
            "stream": True,
        }
        start = perf_counter()
        chunks = iter(self.answer({**self.event, "body": json.dumps(body)}, Context()))
        prelude = json.loads(next(chunks).partition(b"\0")[0])
        if prelude["statusCode"] != 200:
            raise RuntimeError(b"".join(chunks).decode())
        received = b""
        first_byte_s = 0.0
        for chunk in chunks:
            first_byte_s = first_byte_s or perf_counter()
            received += chunk
            if received.count(b"data: ") >= 2:  # the first one only says who speaks
                break
        stamp = perf_counter()
        return {"start_s": start, "stamps_s": [stamp], "first_byte_s": first_byte_s}

    def answer_words(self, text: str, tokens: int) -> dict[str, Any]:
        """Stream a whole answer, drawn at temperature 1 so that it repeats nothing; give its receipt too."""
        body = {
            "model": self.name,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": tokens,
            "temperature": 1,
            "seed": 1,
            "stream": True,
        }
        start = perf_counter()
        chunks = iter(self.answer({**self.event, "body": json.dumps(body)}, Context()))
        first_s = 0.0
        received = b""
        for chunk in chunks:
            received += chunk
            if not first_s and received.count(b"data: ") >= 2:
                first_s = perf_counter()
        end = perf_counter()
        events = [line[6:] for line in received.decode().splitlines() if line.startswith("data: {")]
        receipt = next(
            found["receipt"] for line in reversed(events) if (found := json.loads(line).get("dormouse"))
        )
        return {"first_s": first_s - start, "whole_s": end - start, "receipt": receipt}

    def encode(self, text: str) -> list[int]:
        """Ids are the handler's own business."""
        raise Unsupported(text)

    def generate(self, _task: Task, _stamp: Callable[[], None]) -> dict[str, Any]:
        """Ids are the handler's own business."""
        raise Unsupported("the handler takes messages")


if __name__ == "__main__":
    serve(Handler())
