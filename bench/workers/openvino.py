"""OpenVINO GenAI's LLMPipeline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import openvino
import openvino_genai

from bench.workers.serve import Setup, Task, Unsupported, serve


class Pipeline:
    """One LLMPipeline on the CPU."""

    def load(self, setup: Setup) -> dict[str, Any]:
        """Compile the model, taking the compiled blob from its cache when there is one."""
        self.pipeline = openvino_genai.LLMPipeline(
            setup.model, "CPU", INFERENCE_NUM_THREADS=setup.threads, CACHE_DIR=setup.options["cache"]
        )
        self.tokenizer = self.pipeline.get_tokenizer()
        return {"version": openvino_genai.__version__}

    def encode(self, text: str) -> list[int]:
        """Tokenize with the tokenizer model that was converted beside the weights."""
        return [int(id_) for id_ in self.tokenizer.encode(text).input_ids.data[0]]

    def generate(self, task: Task, stamp: Callable[[], None]) -> dict[str, Any]:
        """Greedy; its prefix cache finds a kept sequence by itself."""
        if task.draft_tokens is not None:
            raise Unsupported("prompt lookup needs another pipeline")
        ids = np.array([task.ids], np.int64)
        inputs = openvino_genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(np.ones_like(ids)))
        config = openvino_genai.GenerationConfig(
            max_new_tokens=task.tokens, min_new_tokens=task.tokens, ignore_eos=True, do_sample=False
        )
        self.pipeline.generate(inputs, config, _Stamps(stamp))
        return {"calls": task.tokens}


class _Stamps(openvino_genai.StreamerBase):  # type: ignore[misc]
    """Stamps tokens as they come, without turning them into text."""

    def __init__(self, stamp: Callable[[], None]) -> None:
        super().__init__()
        self._stamp = stamp

    def write(self, token: int | list[int]) -> openvino_genai.StreamingStatus:
        """Take one token, or several that came at once."""
        for _ in [token] if isinstance(token, int) else token:
            self._stamp()
        return openvino_genai.StreamingStatus.RUNNING

    def end(self) -> None:
        """Nothing is held back."""


if __name__ == "__main__":
    serve(Pipeline())
