"""How well a model predicts a text, by the byte: tokens differ between tokenizers, bytes do not.

Owns the measure. Does not know where the text is from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.errors import ExportError
from export.evaluate import log_softmax
from export.served import all_logits
from export.texts import FEWEST_PREDICTED
from handler.engine import load
from handler.engine.token_bytes import token_bytes


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
    window = engine.model.context_tokens - 2
    surprise, count_bytes = 0.0, 0
    for start in range(0, len(ids), window):
        part = ids[start : start + window]
        if len(part) < 2:
            continue
        logits = all_logits(engine.model, part)[:-1]  # [T - 1, V]
        rows = np.arange(len(part) - 1)
        surprise -= float(log_softmax(logits)[rows, part[1:]].sum())
        count_bytes += sum(len(token_bytes(engine.tokenizer, id_)) for id_ in part[1:])
    return Quality(surprise / math.log(2) / count_bytes, len(text.encode()) / len(ids))
