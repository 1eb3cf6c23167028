"""The weights as a bundle stores them against the checkpoint's own, tensor by tensor and block by block.

Owns the measures. What was rounded is judged by how much a block was scaled: rounding is noise about the
right value, whichever way it was done, and leaves a block's scale near 1; a wrong scale, rows in another
order, a matrix turned or a tensor taken for another do not. What was not, as norms and biases, is the same
number by number. Both sides stream. And as a few percent hide in the rounding, what was rounded is compared
with its own fingerprint from when it was written. Does not know how anything was rounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from export.conversion import WeightError

if TYPE_CHECKING:
    from export.readback import StoredModel

Float32 = NDArray[np.float32]

NEGLIGIBLE = 1e-3  # of a tensor's root mean square: blocks of next to nothing have no scale to speak of


class Own(Protocol):
    """The checkpoint's tensors by transformers' names."""

    def read(self, name: str) -> Float32:
        """A whole tensor."""

    def chunks(self, name: str) -> Iterator[Float32]:
        """A tensor, some of its first axis' rows at a time."""


def weight_errors(stored: StoredModel, own: Own) -> Iterator[WeightError]:
    """Of every tensor that was rounded the worst block and changed bits, of every other the worst number."""
    for name in stored.names:
        pairs = _in_step(stored.chunks(name), own.chunks(name))
        if stored.is_transposed(name):
            turned = np.ascontiguousarray(stored.read(name).T), np.ascontiguousarray(own.read(name).T)
            pairs = iter([turned])
        block = stored.block_of(name)
        if block is None:
            yield _worst_number(name, pairs, stored.offset_of(name))
        else:
            yield _worst_block(name, pairs, block)
            yield WeightError(name, *stored.changes(name), "bits")


def _in_step(left: Iterator[Float32], right: Iterator[Float32]) -> Iterator[tuple[Float32, Float32]]:
    """Both streams in pieces of equal length."""
    a, b = next(left, None), next(right, None)
    while a is not None and b is not None:
        count = min(len(a), len(b))
        yield a[:count], b[:count]
        a = a[count:] if count < len(a) else next(left, None)
        b = b[count:] if count < len(b) else next(right, None)


def _worst_number(name: str, pairs: Iterator[tuple[Float32, Float32]], offset: float) -> WeightError:
    """Its size is that of the numbers the model computes with, as `offset` is added to what is stored."""
    worst, place, start, square, count = 0.0, "", 0, 0.0, 0
    for stored, own in pairs:
        apart = np.where(np.isfinite(stored), np.abs(stored - own), np.inf)
        row, *columns = (int(at) for at in np.unravel_index(int(apart.argmax()), apart.shape))
        if apart[row, *columns] > worst:
            worst = float(apart[row, *columns])
            place = ", column ".join(map(str, (f"row {start + row}", *columns)))
        square += float(np.square(own + np.float32(offset)).sum(dtype=np.float64))
        count += own.size
        start += len(stored)
    size = max(math.sqrt(square / count), float(np.finfo(np.float32).tiny))
    return WeightError(name, worst / size, place, "value")


def _worst_block(name: str, pairs: Iterator[tuple[Float32, Float32]], block: int) -> WeightError:
    worst, place, start = 0.0, "", 0
    for stored, own in pairs:
        errors = _errors(_blocks(stored, block), _blocks(own, block))  # [N, B]
        row, at = np.unravel_index(int(errors.argmax()), errors.shape)
        if errors[row, at] > worst:
            worst = float(errors[row, at])
            place = f"row {start + row}, block {at}"
        start += len(stored)
    return WeightError(name, worst, place, "scale")


def _errors(stored: Float32, own: Float32) -> Float32:
    """|scale - 1| of each block, 0 of those that hold next to nothing; infinite where one is not finite."""
    size = np.einsum("nbk,nbk->nb", own, own)
    floor = NEGLIGIBLE**2 * float(size.mean()) + np.finfo(np.float32).tiny
    scale = np.einsum("nbk,nbk->nb", stored, own) / np.maximum(size, floor)
    errors = np.where(size > floor, np.abs(scale - 1), 0.0)
    errors[~np.isfinite(stored).all(-1)] = np.inf
    return errors.astype(np.float32)


def _blocks(rows: Float32, block: int) -> Float32:
    """[N, K] as [N, B, block], the last block filled up."""
    filled = np.pad(rows, ((0, 0), (0, -rows.shape[1] % block)))
    return filled.reshape(len(rows), -1, block)
