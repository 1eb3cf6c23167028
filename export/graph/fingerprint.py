"""What is remembered of a rounded matrix as it was written, so that a block changed since is found and named.

Owns sums over its bits: one a row and one a block, where a scale a block would be megabytes. A changed word
changes both its sums for certain, as all its weights are odd. Does not know files or graphs.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from export.quantize import Packed

Words = NDArray[np.uint32]

SPREAD = 0x9E3779B1  # odd; its multiples differ in high bits and low, so that words in another order do too


class Fingerprint:
    """Sums over rows that are added in order, some at a time."""

    def __init__(self, chunks: Iterable[Packed] = ()) -> None:
        self._rows: list[Words] = []
        self._blocks: Words | None = None
        for packed in chunks:
            self.add(packed)

    def add(self, packed: Packed) -> None:
        """Take in the next rows."""
        sums = _sums(packed)  # [N, B]
        self._rows.append(np.einsum("nb,b->n", sums, _weights(sums.shape[1])))
        down = np.add.reduce(sums, axis=0, dtype=np.uint32)
        self._blocks = down if self._blocks is None else self._blocks + down

    def changes(self, found: Fingerprint) -> tuple[int, str]:
        """How many rows or blocks of `found` are others, and where the first is."""
        ours, theirs = (np.concatenate(each._rows) for each in (self, found))
        rows, blocks = np.flatnonzero(ours != theirs), np.flatnonzero(self._blocks != found._blocks)
        place = [f"row {row}" for row in rows[:1]]
        if min(len(rows), len(blocks)) <= 1:  # else it is not known which block is of which row
            place += [f"block {block}" for block in blocks[:1]]
        return max(len(rows), len(blocks)), ", ".join(place)


def _sums(packed: Packed) -> Words:
    """Of each block's codes, scale and zero [N, B], all overflow kept to 32 bits."""
    words = np.ascontiguousarray(packed.codes).view(np.uint32)  # [N, B, W]
    weights = _weights(words.shape[-1] + 2)
    sums: Words = np.einsum("nbw,w->nb", words, weights[2:])
    sums += np.ascontiguousarray(packed.scales).view(np.uint32) * weights[:1]
    if packed.zeros is not None:
        sums += packed.zeros * weights[1:2]
    return sums


def _weights(count: int) -> Words:
    return (2 * np.arange(count, dtype=np.uint32) + 1) * np.array([SPREAD], np.uint32)
