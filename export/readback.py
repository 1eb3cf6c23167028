"""The weights a fused graph holds, rebuilt as the checkpoint's tensors from the very bytes that were stored.

Owns the way back from initializers to tensors: stacking, quantization and transposition undone. It reads the
finished files and the ledger of placements, and nothing else of how the graph was built.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.errors import VerificationError
from export.graph.fingerprint import Fingerprint
from export.graph.matrices import CODES, SCALES, ZEROS
from export.graph.stored import Placement
from export.graph.writer import GRAPH_FILE
from export.quantize import Packed, dequantize_rows, unpack_zeros

Float32 = NDArray[np.float32]
CHUNK_ROWS = 4096


class StoredModel:
    """Tensors by the checkpoint's names, read from a graph's external data."""

    def __init__(self, folder: Path, placements: Mapping[str, Placement]) -> None:
        self._folder = folder
        self._placements = placements
        graph = onnx.load(folder / GRAPH_FILE, load_external_data=False).graph
        self._initializers = {tensor.name: tensor for tensor in graph.initializer}

    @property
    def names(self) -> Iterable[str]:
        """Every tensor that has a place."""
        return self._placements

    def is_transposed(self, name: str) -> bool:
        """Whether the checkpoint stores it [in, out]."""
        return self._placements[name].transposed

    def offset_of(self, name: str) -> float:
        """What the graph adds to what the checkpoint stores."""
        return self._placements[name].offset

    def block_of(self, name: str) -> int | None:
        """How many weights of it share a scale; None where it is not quantized."""
        place = self._placements[name]
        if place.bits is None:
            return None
        codes = self._initializers[place.initializer + CODES]
        return int(codes.dims[-1]) * 8 // place.bits

    def read(self, name: str) -> Float32:
        """One tensor as the graph computes with it."""
        rows = np.concatenate(list(self.chunks(name)))
        return np.ascontiguousarray(rows.T) if self._placements[name].transposed else rows

    def chunks(self, name: str) -> Iterator[Float32]:
        """The same as the graph holds it, row after row of outputs, some at a time.

        Raises: VerificationError when the graph was built without this tensor.
        """
        place = self._placements.get(name)
        if place is None:
            raise VerificationError([f"tensor {name} of the model has no place in the graph"])
        if place.bits is None:
            values = self._map(place.initializer)
            for rows in place.slices(CHUNK_ROWS):
                yield np.array(values[rows], np.float32) - np.float32(place.offset)
            return
        for packed in self._packed(name):
            yield dequantize_rows(packed, place.bits, place.width)

    def changes(self, name: str) -> tuple[int, str]:
        """How many rows or blocks of a rounded matrix are not as written, and where the first is."""
        return self._placements[name].written.changes(Fingerprint(self._packed(name)))

    def _packed(self, name: str) -> Iterator[Packed]:
        """A rounded matrix as it lies there, some rows at a time; nothing where it was not rounded."""
        place = self._placements[name]
        if place.bits is None:
            return
        codes, scales = self._map(place.initializer + CODES), self._map(place.initializer + SCALES)
        named = place.initializer + ZEROS
        zeros = self._map(named) if named in self._initializers else None
        for rows in place.slices(CHUNK_ROWS):
            nulls = None if zeros is None else unpack_zeros(zeros[rows], place.bits, scales.shape[1])
            yield Packed(codes[rows], scales[rows], nulls)

    def _map(self, initializer: str) -> NDArray[Any]:
        tensor = self._initializers[initializer]
        place = {entry.key: entry.value for entry in tensor.external_data}
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        return np.memmap(
            self._folder / place["location"],
            dtype,
            "r",
            offset=int(place["offset"]),
            shape=tuple(tensor.dims),
        )
