"""The judge read in batches: transformers' logits of many texts at once, only where they are wanted.

Owns the padding and the choice of rows. A streamed model's weights come in once for all texts of a call.
"""

from __future__ import annotations

from collections.abc import Sequence
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
