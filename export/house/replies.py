"""Lets a checkpoint answer, many conversations at a time.

Owns batching and decoding. Knows nothing of right answers. Anything with `answer` can stand in
for it, such as a serving bundle.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from export.house.tokenizer import PAD
from handler.engine import load as load_bundle

Messages = Sequence[dict[str, str]]


@dataclass(frozen=True)
class Reply:
    """The text of an answer and whether the model ended it by itself."""

    text: str
    stopped: bool


class Answerer(Protocol):
    """Whatever answers conversations."""

    def answer(self, conversations: Sequence[Messages]) -> list[Reply]:
        """Return one reply for each conversation, which ends with a user's message."""
        ...


class CheckpointAnswerer:
    """Answers with a transformers model, greedily, or sampled where a temperature is given."""

    def __init__(
        self,
        model: LlamaForCausalLM,
        tokenizer: PreTrainedTokenizerFast,
        *,
        temperature: float = 0.0,
        max_tokens: int = 96,
        batch: int = 24,
        seed: int = 0,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.temperature, self.max_tokens, self.batch, self.seed = temperature, max_tokens, batch, seed

    def answer(self, conversations: Sequence[Messages]) -> list[Reply]:
        """Return one reply for each conversation; the result does not depend on their order."""
        prompts = [
            self.tokenizer.apply_chat_template(list(c), add_generation_prompt=True, tokenize=True)
            for c in conversations
        ]
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        replies: dict[int, Reply] = {}
        for at in range(0, len(order), self.batch):
            numbers = order[at : at + self.batch]
            for number, reply in zip(numbers, self._answer_batch([prompts[i] for i in numbers]), strict=True):
                replies[number] = reply
        return [replies[i] for i in range(len(conversations))]

    @torch.no_grad()
    def _answer_batch(self, prompts: list[list[int]]) -> list[Reply]:
        pad = self.tokenizer.convert_tokens_to_ids(PAD)
        longest = max(map(len, prompts))
        ids = torch.tensor([[pad] * (longest - len(p)) + p for p in prompts])  # [B, T], padded on the left
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])  # [B, T]
        torch.manual_seed(self.seed)
        sampling: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None}
        if self.temperature:
            sampling = {"do_sample": True, "temperature": self.temperature, "top_p": 0.9}
        made = self.model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=self.max_tokens, pad_token_id=pad, **sampling
        )
        end = self.model.config.eos_token_id
        return [self._reply(row[longest:].tolist(), end) for row in made]

    def _reply(self, ids: list[int], end: int) -> Reply:
        stopped = end in ids
        kept = ids[: ids.index(end)] if stopped else ids
        return Reply(self.tokenizer.decode(kept, skip_special_tokens=True), stopped)


class BundleAnswerer:
    """Answers with a serving bundle, through the same engine that serves it."""

    def __init__(
        self, folder: Path, *, temperature: float = 0.0, max_tokens: int = 96, seed: int = 0
    ) -> None:
        self.engine = load_bundle(folder)
        self.temperature, self.max_tokens, self.seed = temperature, max_tokens, seed

    def answer(self, conversations: Sequence[Messages]) -> list[Reply]:
        """Return one reply for each conversation."""
        return [self._answer(messages) for messages in conversations]

    def _answer(self, messages: Messages) -> Reply:
        stream = self.engine.chat(
            list(messages), max_tokens=self.max_tokens, temperature=self.temperature, seed=self.seed
        )
        text = "".join(piece.text for piece in stream)
        return Reply(text, stream.stop_reason == "stop")
