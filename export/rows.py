"""The judge read in batches: transformers' logits of many texts at once, only where they are wanted.

Owns the padding, the choice of rows, and the greedy answers to many prompts. A streamed model's weights come
in once for all texts of a call.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.conversion import Float32
from export.reference import Tensors, streamed_model, whole_model


def streamed_rows(
    folder: Path, tensors: Tensors, texts: Sequence[list[int]], rows: Sequence[range]
) -> list[Float32]:
    """Logits [len(rows[i]), V] of each text by the architecture in `folder` on these weights."""
    return _read(streamed_model(folder, tensors), texts, rows)


def whole_rows(folder: Path, texts: Sequence[list[int]], rows: Sequence[range]) -> list[Float32]:
    """The same by the checkpoint in `folder`, loaded as a whole."""
    return _read(whole_model(folder), texts, rows)


def streamed_answers(
    folder: Path, tensors: Tensors, prompts: Sequence[list[int]], most: int, eos: Collection[int]
) -> list[list[int]]:
    """Greedy answers of at most so many ids, their ends included; the weights come in once for each id."""
    return _answer(streamed_model(folder, tensors), prompts, most, eos)


def whole_answers(
    folder: Path, prompts: Sequence[list[int]], most: int, eos: Collection[int]
) -> list[list[int]]:
    """The same by the checkpoint in `folder`, loaded as a whole."""
    return _answer(whole_model(folder), prompts, most, eos)


def _answer(model: Any, prompts: Sequence[list[int]], most: int, eos: Collection[int]) -> list[list[int]]:
    """Answer all prompts as one batch; padding stands before them, hidden from attention."""
    from transformers import GenerationConfig

    width = max(map(len, prompts))
    ids = torch.zeros(len(prompts), width, dtype=torch.long)  # [B, T]
    real = torch.zeros_like(ids)
    for at, prompt in enumerate(prompts):
        ids[at, width - len(prompt) :] = torch.tensor(prompt)
        real[at, width - len(prompt) :] = 1
    greedy = GenerationConfig(
        do_sample=False, max_new_tokens=most, eos_token_id=sorted(eos) or None, pad_token_id=0
    )
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a streamed model: that its weights are nowhere
        found = model.generate(ids, attention_mask=real, generation_config=greedy, use_model_defaults=False)
    return [_ended(row, eos) for row in found[:, width:].tolist()]


def _ended(ids: list[int], eos: Collection[int]) -> list[int]:
    end = next((at for at, id_ in enumerate(ids) if id_ in eos), len(ids))
    return ids[: end + 1]


def _read(model: Any, texts: Sequence[list[int]], rows: Sequence[range]) -> list[Float32]:
    """Read all texts as one batch; padding stands behind them, where causal attention never looks."""
    ids = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.long)  # [B, T]
    wanted = torch.zeros_like(ids, dtype=torch.bool)
    for at, (text, places) in enumerate(zip(texts, rows, strict=True)):
        ids[at, : len(text)] = torch.tensor(text)
        wanted[at, places.start : places.stop] = True
    head = model.get_output_embeddings()
    product = head.forward
    head.forward = lambda hidden: product(hidden[wanted])  # the vocabulary is wide: no row for nothing
    with torch.inference_mode():
        logits: Float32 = model(ids, use_cache=False).logits.float().numpy()  # [sum of rows, V]
    return np.split(logits, np.cumsum([len(places) for places in rows])[:-1])
