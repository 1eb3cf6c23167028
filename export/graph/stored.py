"""Weights on their way into a graph: what is read from the checkpoint, and where it ends up.

Owns names (a bare model's checkpoint lacks the prefix), shape checks, stacking, and the ledger of placements,
from which the stored model can be rebuilt and by which nothing in the checkpoint is overlooked. Does not know
ONNX.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from export.errors import ExportError
from export.graph.facts import Linear
from export.graph.fingerprint import Fingerprint
from export.weights import Weights

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Placement:
    """Where in the graph a checkpoint's tensor went: some rows of one initializer."""

    initializer: str
    start: int
    stop: int
    bits: int | None = None  # None: not quantized
    transposed: bool = False
    width: int = 0  # K of a quantized matrix: the last block of a row may be padded
    offset: float = 0.0  # was added to what the checkpoint stores
    written: Fingerprint = field(default_factory=Fingerprint, compare=False)  # of a quantized one

    def slices(self, step: int) -> Iterator[slice]:
        """Its rows, `step` at a time."""
        for start in range(self.start, self.stop, step):
            yield slice(start, min(start + step, self.stop))


class StoredTensors:
    """Reads a checkpoint by the family's names and keeps the ledger."""

    def __init__(self, weights: Weights, prefix: str) -> None:
        self._weights = weights
        self._prefix = prefix
        self._used: set[str] = set()
        self.placements: dict[str, Placement] = {}

    def find(self, name: str) -> str:
        """The name under which the checkpoint stores `name`."""
        bare = name.removeprefix(self._prefix)
        return bare if name not in self._weights and bare in self._weights else name

    def vector(self, name: str, length: int) -> Float32:
        """A whole one-dimensional tensor."""
        self._expect(name, (length,))
        return self._weights.read(self.find(name))

    def table(self, name: str, shape: tuple[int, int]) -> Iterator[Float32]:
        """A matrix of this very shape, some rows at a time."""
        self._expect(name, shape)
        return self._weights.chunks(self.find(name))

    def rows(self, linear: Linear) -> Iterator[Float32]:
        """The rows [out, in] of a matrix product, stacked parts one after the other, some at a time."""
        for name in linear.weights:
            found = self.find(name)
            if linear.transposed:
                yield self._weights.read(found).T
            else:
                yield from self._weights.chunks(found)

    def heights(self, linear: Linear, width: int) -> list[int]:
        """How many rows each part of a matrix product has."""
        for name in linear.weights:
            self._check_width(name, linear, width)
        return [
            self._weights.shape(self.find(name))[1 if linear.transposed else 0] for name in linear.weights
        ]

    def place(self, linear: Linear, initializer: str, width: int, bits: int | None) -> None:
        """Note where the parts of a matrix product go."""
        start = 0
        for name, height in zip(linear.weights, self.heights(linear, width), strict=True):
            self.placements[name] = Placement(
                initializer, start, start + height, bits, linear.transposed, width
            )
            self._used.add(self.find(name))
            start += height

    @property
    def parameters(self) -> int:
        """How many numbers the used tensors hold."""
        return sum(math.prod(self._weights.shape(name)) for name in self._used)

    def check_all_used(self, ignored: tuple[str, ...]) -> None:
        """Refuse a checkpoint with tensors that nothing read: the graph would compute another model."""
        left = sorted(
            name
            for name in self._weights
            if name not in self._used
            and (
                name in self._weights.changed
                or not any(fnmatch.fnmatch(name, pattern) for pattern in ignored)
            )
        )
        if left:
            more = f" and {len(left) - 1} more" if len(left) > 1 else ""
            raise ExportError(
                f"{self._weights.folder}: tensor {left[0]!r}{more} has no place in this architecture's graph"
            )

    def _expect(self, name: str, shape: tuple[int, ...]) -> None:
        found = self.find(name)
        if (actual := self._weights.shape(found)) != shape:
            raise self._misshapen(name, actual, f"{list(shape)}")
        self._used.add(found)

    def _check_width(self, name: str, linear: Linear, width: int) -> None:
        shape = self._weights.shape(self.find(name))
        if len(shape) != 2 or shape[0 if linear.transposed else 1] != width:
            raise self._misshapen(name, shape, f"{width} inputs")

    def _misshapen(self, name: str, shape: tuple[int, ...], wanted: str) -> ExportError:
        folder, found = self._weights.folder, list(shape)
        return ExportError(f"{folder}: tensor {name!r} has shape {found}, config.json says {wanted}")
