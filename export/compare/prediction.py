"""How well a model predicts a text, by the byte: tokens differ between tokenizers, bytes do not.

Owns the measure. Does not know where the text is from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.errors import ExportError
from export.evaluate import CHUNK_ROWS, log_softmax
from export.texts import FEWEST_PREDICTED, cut
from handler.engine import load
from handler.engine.token_bytes import token_bytes

READ_ROWS = 128  # in one call, as the engine reads a prompt: the bits are those of the whole window


@dataclass(frozen=True)
class Quality:
    """Over one text."""

    bits_per_byte: float
    bytes_per_token: float

    @property
    def perplexity_per_byte(self) -> float:
        """Of the next byte: 256 for a model that knows nothing."""
        return float(2.0**self.bits_per_byte)


def quality(bundle: Path, text: str) -> Quality:
    """Read the text in windows of the bundle's context; the first token of each is not predicted.

    Raises: ExportError naming `--text` when that leaves nothing.
    """
    engine = load(bundle)
    ids = list(engine.prompt.encode_text(text))
    if len(ids) < FEWEST_PREDICTED:
        raise ExportError(
            f"--text: too short: it has {len(ids)} of this model's tokens, "
            f"and at least {FEWEST_PREDICTED} are needed"
        )
    nats, count_bytes = 0.0, 0
    window = max(FEWEST_PREDICTED, engine.model.context_tokens - 2)
    for part in cut(ids, engine.prompt.encode_text(""), window):
        nats += surprise(engine.model, part)
        count_bytes += sum(len(token_bytes(engine.tokenizer, id_)) for id_ in part[1:])
    return Quality(nats / math.log(2) / count_bytes, len(text.encode()) / len(ids))


def surprise(model: Any, ids: Sequence[int]) -> float:
    """-log of the probability of all ids behind the first, in nats; few rows of logits are held at once."""
    cache, following, nats = model.new_cache(), np.array(ids[1:], np.int64), 0.0
    for start in range(0, len(following), READ_ROWS):
        nexts = following[start : start + READ_ROWS]
        logits = model.forward(ids[start : start + len(nexts)], cache, rows=len(nexts))  # [rows, V]
        for at in range(0, len(nexts), CHUNK_ROWS):
            known = log_softmax(logits[at : at + CHUNK_ROWS])
            nats -= float(known[np.arange(len(known)), nexts[at : at + CHUNK_ROWS]].sum())
    return nats
