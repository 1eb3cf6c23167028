"""onnxruntime-genai through its Python binding."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import onnxruntime_genai as og

from bench.workers.serve import Setup, Task, Unsupported, serve

# A kept sequence may grow by this much: buffers are allocated for `max_length` at once.
KEPT_ROOM_TOKENS = 128


class Genai:
    """One model; a Generator for each sequence."""

    def load(self, setup: Setup) -> dict[str, Any]:
        """Load with the thread count set; the rest is as its builder wrote it."""
        config = og.Config(setup.model)
        options = {"session_options": {"intra_op_num_threads": setup.threads}}
        config.overlay(json.dumps({"model": {"decoder": options}}))
        self.model = og.Model(config)
        self.tokenizer: Any = None
        self.generator: Any = None
        self.length = 0
        self.limit = setup.context_tokens
        return {"version": og.__version__}

    def encode(self, text: str) -> list[int]:
        """Tokenize with onnxruntime-extensions' reader of tokenizer.json, loaded when first needed."""
        if self.tokenizer is None:
            self.tokenizer = og.Tokenizer(self.model)
        return [int(id_) for id_ in self.tokenizer.encode(text)]

    def generate(self, task: Task, stamp: Callable[[], None]) -> dict[str, Any]:
        """Greedy search, one token a step."""
        if task.draft_tokens is not None:
            raise Unsupported("no prompt lookup without a second model")
        if not task.keep:
            self.generator = None  # its buffers go before new ones come
            params = og.GeneratorParams(self.model)
            longest = min(self.limit, len(task.ids) + task.tokens + KEPT_ROOM_TOKENS)
            params.set_search_options(do_sample=False, max_length=longest)
            self.generator = og.Generator(self.model, params)
            self.length = 0
        self.generator.append_tokens(task.ids[self.length :])
        for _ in range(task.tokens):
            self.generator.generate_next_token()
            self.generator.get_next_tokens()
            stamp()
        self.length = len(task.ids) + task.tokens  # its sequence already ends with the latest token
        return {"calls": task.tokens}


if __name__ == "__main__":
    serve(Genai())
