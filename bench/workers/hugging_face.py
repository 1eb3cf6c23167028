"""transformers' `generate`, on PyTorch or on optimum's ORTModelForCausalLM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.workers.serve import Setup, Task, Unsupported, serve


class HuggingFace:
    """A causal language model with `generate`; `options["runtime"]` says which."""

    def load(self, setup: Setup) -> dict[str, Any]:
        """Load through from_pretrained, as its users do."""
        import torch

        torch.set_num_threads(setup.threads)
        self.torch, self.folder = torch, setup.model
        if setup.options["runtime"] == "optimum":
            self.model, version = self._load_optimum(setup)
        else:
            import transformers

            dtype = getattr(torch, setup.options["dtype"])
            self.model = transformers.AutoModelForCausalLM.from_pretrained(setup.model, dtype=dtype)
            version = transformers.__version__
        self.tokenizer: Any = None
        return {"version": version, "torch": torch.__version__}

    def _load_optimum(self, setup: Setup) -> tuple[Any, str]:
        import onnxruntime
        import optimum.version
        from optimum.onnxruntime import ORTModelForCausalLM

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = setup.threads
        return ORTModelForCausalLM.from_pretrained(
            setup.model, session_options=options
        ), optimum.version.__version__

    def encode(self, text: str) -> list[int]:
        """Tokenize with AutoTokenizer, loaded when first needed."""
        if self.tokenizer is None:
            from transformers import AutoTokenizer

            self.tokenizer = AutoTokenizer.from_pretrained(self.folder)
        return list(self.tokenizer.encode(text))

    def generate(self, task: Task, stamp: Callable[[], None]) -> dict[str, Any]:
        """Greedy `generate`; a streamer sees each token."""
        if task.keep:
            raise Unsupported("generate does not keep its cache between calls")
        if task.draft_tokens is not None:
            raise Unsupported("not measured")
        ids = self.torch.tensor([task.ids])
        with self.torch.inference_mode():
            self.model.generate(
                ids,
                attention_mask=self.torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=task.tokens,
                min_new_tokens=task.tokens,
                pad_token_id=0,
                streamer=_Stamps(stamp),
            )
        return {"calls": task.tokens}


class _Stamps:
    """A streamer that only looks at the clock; the first thing it is given is the prompt."""

    def __init__(self, stamp: Callable[[], None]) -> None:
        self._stamp = stamp
        self._prompt_seen = False

    def put(self, _ids: Any) -> None:
        """Take the prompt, then one token a call."""
        if self._prompt_seen:
            self._stamp()
        self._prompt_seen = True

    def end(self) -> None:
        """Nothing is held back."""


if __name__ == "__main__":
    serve(HuggingFace())
