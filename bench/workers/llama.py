"""llama.cpp through llama-cpp-python's low-level binding, its fastest way: no sampler chain, no copies."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import llama_cpp
import numpy as np
from llama_cpp.llama_speculative import LlamaPromptLookupDecoding

from bench.workers.serve import Setup, Task, serve

BATCH_TOKENS = 2048  # llama.cpp's own default for one call of llama_decode


class Llama:
    """One model, one context, sequence 0."""

    def load(self, setup: Setup) -> dict[str, Any]:
        """Map the GGUF file; warm-up and GPU off, everything else at llama.cpp's defaults."""
        llama_cpp.llama_log_set(_quiet, ctypes.c_void_p())
        llama_cpp.llama_backend_init()
        model_params = llama_cpp.llama_model_default_params()
        model_params.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(setup.model.encode(), model_params)
        if not self.model:
            raise RuntimeError(f"llama.cpp cannot load {setup.model}")
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = setup.context_tokens
        params.n_batch = BATCH_TOKENS
        params.n_threads = params.n_threads_batch = setup.threads
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        if not self.context:
            raise RuntimeError("llama.cpp cannot make a context")
        self.vocabulary = llama_cpp.llama_model_get_vocab(self.model)
        self.vocabulary_size = llama_cpp.llama_vocab_n_tokens(self.vocabulary)
        self.memory = llama_cpp.llama_get_memory(self.context)
        self.batch = llama_cpp.llama_batch_init(BATCH_TOKENS, 0, 1)
        self.length = 0
        return {
            "version": llama_cpp.__version__,
            "kernels": llama_cpp.llama_print_system_info().decode().strip(" |"),
        }

    def encode(self, text: str) -> list[int]:
        """Tokenize with the vocabulary in the GGUF file."""
        raw = text.encode()
        room = len(raw) + 2
        ids = (llama_cpp.llama_token * room)()
        count = llama_cpp.llama_tokenize(self.vocabulary, raw, len(raw), ids, room, True, False)
        return list(ids[:count])

    def generate(self, task: Task, stamp: Callable[[], None]) -> dict[str, Any]:
        """Greedy, with llama-cpp-python's own prompt lookup where a draft length is given."""
        if not task.keep:
            self._truncate(0)
        history = list(task.ids)
        lookup = LlamaPromptLookupDecoding(num_pred_tokens=task.draft_tokens) if task.draft_tokens else None
        self._decode(history[self.length :], 1)
        guess: list[int] = []
        generated = calls = accepted = 0
        while True:
            calls += 1
            first = len(guess) + 1
            for at in range(first):
                drawn = self._draw(at - first, task.script, generated)
                history.append(drawn)
                generated += 1
                stamp()
                if generated == task.tokens:
                    return {"calls": calls, "accepted": accepted}
                if at == len(guess) or drawn != guess[at]:
                    break
                accepted += 1
            self._truncate(len(history) - 1)
            guess = lookup(np.array(history, np.intc)).tolist() if lookup else []
            guess = guess[: task.tokens - generated - 1]
            self._decode([history[-1], *guess], 1 + len(guess))

    def _draw(self, row: int, script: list[int] | None, position: int) -> int:
        pointer = llama_cpp.llama_get_logits_ith(self.context, row)
        drawn = int(np.ctypeslib.as_array(pointer, (self.vocabulary_size,)).argmax())
        return drawn if script is None else script[position]

    def _decode(self, ids: list[int], logit_rows: int) -> None:
        """Append `ids` to the sequence; the last `logit_rows` of them get logits."""
        for at in range(0, len(ids), BATCH_TOKENS):
            part = ids[at : at + BATCH_TOKENS]
            size, batch = len(part), self.batch
            batch.n_tokens = size
            view = np.ctypeslib.as_array
            view(batch.token, (size,))[:] = part
            view(batch.pos, (size,))[:] = np.arange(self.length, self.length + size)
            view(batch.n_seq_id, (size,))[:] = 1
            for row in range(size):
                batch.seq_id[row][0] = 0
            view(batch.logits, (size,))[:] = np.arange(at, at + size) >= len(ids) - logit_rows
            status = llama_cpp.llama_decode(self.context, batch)
            if status != 0:
                raise RuntimeError(f"llama_decode returned {status}")
            self.length += size

    def _truncate(self, length: int) -> None:
        if length < self.length:
            llama_cpp.llama_memory_seq_rm(self.memory, 0, length, -1)
            self.length = length


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _quiet(_level: int, _text: bytes, _user: ctypes.c_void_p) -> None:
    """Say nothing: llama.cpp writes hundreds of lines for each load, and writing them takes time."""


if __name__ == "__main__":
    serve(Llama())
