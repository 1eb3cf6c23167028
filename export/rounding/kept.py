"""Rounded matrices on disk, from the pass that makes them until the graph is written.

Owns the files. Does not know how anything was rounded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.errors import about
from export.quantize import Packed, dequantize_rows

CHUNK_ROWS = 4096
PARTS = ("codes", "scales", "zeros")

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class _Place:
    file: Path
    width: int
    bits: int
    row_codes: tuple[int, int]  # blocks, bytes of each
    zeros: bool

    def part(self, name: str) -> Path:
        """Where its codes, scales or zeros are."""
        return self.file.with_suffix(f".{name}")


class KeptRows:
    """Quantized matrices by the checkpoint's names, under `folder`; the folder's owner removes them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places: dict[str, _Place] = {}

    def keep(self, name: str, width: int, bits: int, chunks: Iterable[Packed]) -> None:
        """Write one matrix, its rows some at a time."""
        place = _Place(self._folder / str(len(self._places)), width, bits, (0, 0), False)
        with about(place.file), contextlib.ExitStack() as files:
            codes, scales, zeros = (files.enter_context(place.part(part).open("wb")) for part in PARTS)
            for packed in chunks:
                place = replace(place, row_codes=packed.codes.shape[1:], zeros=packed.zeros is not None)
                codes.write(np.ascontiguousarray(packed.codes).data)
                scales.write(np.ascontiguousarray(packed.scales).data)
                if packed.zeros is not None:
                    zeros.write(np.ascontiguousarray(packed.zeros).data)
        self._places[name] = place

    def packed(self, name: str) -> Iterator[Packed]:
        """One matrix as it was kept, some rows at a time."""
        place = self._places[name]
        blocks, row = place.row_codes[0], place.row_codes
        with contextlib.ExitStack() as files:
            codes, scales, zeros = (files.enter_context(place.part(part).open("rb")) for part in PARTS)
            while raw := codes.read(CHUNK_ROWS * row[0] * row[1]):
                steps = np.frombuffer(scales.read(CHUNK_ROWS * blocks * 4), np.float32)
                nulls = np.frombuffer(zeros.read(CHUNK_ROWS * blocks), np.uint8)
                yield Packed(
                    np.frombuffer(raw, np.uint8).reshape(-1, *row),
                    steps.reshape(-1, blocks),
                    nulls.reshape(-1, blocks) if place.zeros else None,
                )

    def chunks(self, name: str) -> Iterator[Float32]:
        """The float32 rows that a kept matrix stands for, some at a time."""
        place = self._places[name]
        for packed in self.packed(name):
            yield dequantize_rows(packed, place.bits, place.width)
