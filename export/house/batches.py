"""Turns dialogues into batches of token ids of similar length, with the answers marked as what is learned.

Owns the order in which batches come (a pure function of seed and epoch, so a resumed run sees the same ones).
Padding stands on the right, where causal attention never looks, so no attention mask is needed.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from export.house.tokenizer import END, PAD, START
from export.house.turns import Dialogue

IGNORED = -100  # the label that cross entropy skips
_POOL_BATCHES = 64  # batches sorted by length together
_PLACES_STEP = 16  # batches are padded to a multiple of it: a device prepares itself for few shapes
_SHORT, _SHORT_STEP = 128, 4  # up to that, to a multiple of this: else much is padding


@dataclass(frozen=True)
class Example:
    """One dialogue in token ids; `learned[i]` tells whether ids[i] is part of an answer."""

    ids: tuple[int, ...]
    learned: tuple[bool, ...]


def encode_all(
    tokenizer: PreTrainedTokenizerFast, dialogues: Iterable[Dialogue], *, max_tokens: int
) -> list[Example]:
    """Return every dialogue as the chat template writes it, longer ones cut at `max_tokens`.

    Learned are the answers, each with the token that ends it; of a last one of which the dialogue has the
    opening alone, that.
    """
    dialogues = list(dialogues)
    written = [dialogue.messages() for dialogue in dialogues]
    contents = list({message["content"]: None for messages in written for message in messages})
    pieces = tokenizer.backend_tokenizer.encode_batch(contents, add_special_tokens=False)
    encoded = {content: encoding.ids for content, encoding in zip(contents, pieces, strict=True)}
    start, end = tokenizer.convert_tokens_to_ids([START, END])
    newline = tokenizer.encode("\n")
    heads = {role: [start, *tokenizer.encode(f"{role}\n")] for role in ("system", "user", "assistant")}
    examples = []
    for dialogue, messages in zip(dialogues, written, strict=True):
        ids: list[int] = []
        learned: list[bool] = []
        for message in messages:
            head, body = heads[message["role"]], [*encoded[message["content"]], end]
            ids += head + body + newline
            is_answer = message["role"] == "assistant"
            learned += [False] * len(head) + [is_answer] * len(body) + [False] * len(newline)
        unread = max(0, len(body) - dialogue.opening) + len(newline) if dialogue.opening else 0
        end_at = min(max_tokens, len(ids) - unread)
        examples.append(Example(tuple(ids[:end_at]), tuple(learned[:end_at])))
    return examples


def epoch_batches(
    examples: Sequence[Example], *, batch_tokens: int, seed: int, epoch: int
) -> list[list[int]]:
    """Return the batches of one epoch as example numbers, shuffled but alike in length."""
    if not examples:
        return []
    rng = random.Random(f"{seed}/{epoch}")
    order = list(range(len(examples)))
    rng.shuffle(order)
    mean_tokens = sum(len(example.ids) for example in examples) / len(examples)
    pool = max(1, int(_POOL_BATCHES * batch_tokens / mean_tokens))
    batches: list[list[int]] = []
    for at in range(0, len(order), pool):
        by_length = sorted(order[at : at + pool], key=lambda i: len(examples[i].ids))
        pooled = list(_cut(by_length, examples, batch_tokens))
        rng.shuffle(pooled)
        batches += pooled
    return batches


def stack(examples: Sequence[Example], numbers: Sequence[int], pad: int) -> tuple[Tensor, Tensor]:
    """Return (ids, labels): the label of a place is the token after it, or IGNORED.

    Shapes: both int64 [B, T].
    """
    chosen = [examples[i] for i in numbers]
    shape = (len(chosen), max(map(_places, chosen)))
    ids = np.full(shape, pad, np.int64)
    labels = np.full(shape, IGNORED, np.int64)
    for row, example in enumerate(chosen):
        written = np.array(example.ids)
        ids[row, : len(written)] = written
        labels[row, : len(written) - 1] = np.where(example.learned, written, IGNORED)[1:]
    return torch.from_numpy(ids), torch.from_numpy(labels)


def pad_id(tokenizer: PreTrainedTokenizerFast) -> int:
    """Return the id that fills the right of a batch."""
    return int(tokenizer.convert_tokens_to_ids(PAD))


def _cut(numbers: Sequence[int], examples: Sequence[Example], batch_tokens: int) -> Iterator[list[int]]:
    """Cut a list sorted by length so that no batch has more than `batch_tokens` places, padding included."""
    batch: list[int] = []
    for number in numbers:
        if batch and (len(batch) + 1) * _places(examples[number]) > batch_tokens:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def _places(example: Example) -> int:
    """The places an example takes in a batch, the padding to the step included."""
    step = _SHORT_STEP if len(example.ids) <= _SHORT else _PLACES_STEP
    return -(-len(example.ids) // step) * step
