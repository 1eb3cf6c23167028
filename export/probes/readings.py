"""How likely a model finds a text after another: the one question that every probe asks.

Owns the batches and the sums. A model is a function from texts to logits at the rows asked for; whether it
is the unquantized one or the bundle's engine is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from export.conversion import Float32, RowsOf
from export.evaluate import log_softmax
from handler.engine.warm import common_prefix

BATCH_TOKENS = 1024  # with the padding: weights that are streamed in pass once a batch

Encode = Callable[[str], list[int]]


@dataclass(frozen=True)
class Reading:
    """Ids of which those from `start` on, at least 1, are to be scored."""

    ids: tuple[int, ...]
    start: int

    @property
    def rows(self) -> range:
        """The positions whose logits score them."""
        return range(self.start - 1, len(self.ids) - 1)


def reading_of(encode: Encode, context: str, text: str) -> Reading:
    """A text after another, encoded as one; what the border changes of the context's ids is scored too."""
    ids = encode(context + text)
    return Reading(tuple(ids), max(1, min(common_prefix(encode(context), ids), len(ids) - 1)))


def log_likelihoods(model: RowsOf, readings: Sequence[Reading]) -> list[float]:
    """The sum of each reading's log-probabilities, in nats."""
    found = [0.0] * len(readings)
    for batch in _batches([len(reading.ids) for reading in readings]):
        texts = [list(readings[at].ids) for at in batch]
        for at, logits in zip(batch, model(texts, [readings[at].rows for at in batch]), strict=True):
            scores = log_softmax(logits)
            scored = np.array(readings[at].ids[readings[at].start :])
            found[at] = float(scores[np.arange(len(scored)), scored].sum())
    return found


def rows_of(model: Any) -> RowsOf:
    """An engine's model as such a function; it reads one text after the other."""

    def read(texts: Sequence[list[int]], rows: Sequence[range]) -> list[Float32]:
        found = []
        for ids, wanted in zip(texts, rows, strict=True):
            logits = model.forward(ids, model.new_cache(), rows=len(ids) - wanted.start)
            found.append(np.array(logits[: len(wanted)]))
        return found

    return read


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices of texts of about one length, so many that together, padded, they keep to the limit."""
    batch: list[int] = []
    for at in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and lengths[at] * (len(batch) + 1) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(at)
    if batch:
        yield batch
