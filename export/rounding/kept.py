"""Rounded matrices on disk, from the pass that makes them until the graph is written.

Owns the files. Does not know how anything was rounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.quantize import Packed, dequantize_rows

CHUNK_ROWS = 4096

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class _Place:
    file: Path
    width: int
    row_codes: tuple[int, int]  # blocks, bytes of each


class KeptRows:
    """Quantized matrices by the checkpoint's names, under `folder`; the folder's owner removes them."""

    def __init__(self, folder: Path, bits: int) -> None:
        self._folder = folder
        self._bits = bits
        self._places: dict[str, _Place] = {}

    def keep(self, name: str, width: int, chunks: Iterable[Packed]) -> None:
        """Write one matrix, its rows some at a time."""
        file, shape = self._folder / str(len(self._places)), (0, 0)
        with file.with_suffix(".codes").open("wb") as codes, file.with_suffix(".scales").open("wb") as scales:
            for packed in chunks:
                shape = packed.codes.shape[1:]
                codes.write(np.ascontiguousarray(packed.codes).data)
                scales.write(np.ascontiguousarray(packed.scales).data)
        self._places[name] = _Place(file, width, shape)

    def packed(self, name: str) -> Iterator[Packed]:
        """One matrix as it was kept, some rows at a time."""
        place = self._places[name]
        blocks, row = place.row_codes[0], place.row_codes
        with (
            place.file.with_suffix(".codes").open("rb") as codes,
            place.file.with_suffix(".scales").open("rb") as scales,
        ):
            while raw := codes.read(CHUNK_ROWS * row[0] * row[1]):
                steps = np.frombuffer(scales.read(CHUNK_ROWS * blocks * 4), np.float32)
                yield Packed(np.frombuffer(raw, np.uint8).reshape(-1, *row), steps.reshape(-1, blocks))

    def chunks(self, name: str) -> Iterator[Float32]:
        """The float32 rows that a kept matrix stands for, some at a time."""
        for packed in self.packed(name):
            yield dequantize_rows(packed, self._bits, self._places[name].width)
