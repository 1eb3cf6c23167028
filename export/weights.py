"""A checkpoint's tensors, read from safetensors a few rows at a time.

Owns the safetensors layout, shards and the widening to float32. Files are read with `pread`, not mapped, so
that pages of the checkpoint never count as this process's memory. Does not know what a tensor is for.

Source: https://huggingface.co/docs/safetensors/index#format
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.config import read_json_object
from export.errors import ExportError, about

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
CHUNK_BYTES = 8 << 20  # of float32, what one step of a streamed pass holds
READERS = 2  # threads that widen a tensor; memory has no room for more
HEADER_LIMIT_BYTES = 100 << 20  # the format's own ceiling

STORAGE: dict[str, tuple[str, int]] = {"F32": ("<f4", 4), "F16": ("<f2", 2), "BF16": ("<u2", 2)}

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Stored:
    """Where one tensor lies."""

    file: Path
    offset: int
    dtype: str
    shape: tuple[int, ...]


class Weights:
    """All tensors of a checkpoint folder, or of some of its files, by name.

    Raises: ExportError naming the file and tensor, on a missing shard, a damaged header, an unknown dtype or
    a number that is not finite.
    """

    def __init__(self, folder: Path, files: Sequence[Path] | None = None) -> None:
        self.folder = folder
        self.files = weight_files(folder) if files is None else list(files)
        self._stored: dict[str, Stored] = {}
        for file in self.files:
            self._stored.update(_read_header(file))
        self._check_index()
        self._descriptors: dict[Path, int] = {}
        self._opening = threading.Lock()
        self._readers = ThreadPoolExecutor(READERS, "weights")  # starts no thread before its first task
        self.changed: frozenset[str] = frozenset()  # given out with something added to what is stored

    def __enter__(self) -> Weights:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._readers.shutdown()
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()

    def __contains__(self, name: str) -> bool:
        return name in self._stored

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    @property
    def numbers(self) -> int:
        """How many numbers all tensors hold together."""
        return sum(math.prod(stored.shape) for stored in self._stored.values())

    def shape(self, name: str) -> tuple[int, ...]:
        """The stored shape of a tensor."""
        return self._find(name).shape

    def read(self, name: str) -> Float32:
        """A whole tensor as float32."""
        whole = np.empty(self._find(name).shape, np.float32)
        step = self._rows_of_a_chunk(name)

        def fill(start: int) -> None:
            self._fill(whole[start : start + step], name, start)

        for _ in self._readers.map(fill, range(0, len(whole), step)):
            pass  # a chunk that could not be read raises here
        return whole

    def chunks(self, name: str) -> Iterator[Float32]:
        """A tensor as float32, a bounded number of its first axis' rows at a time."""
        shape, step = self._find(name).shape, self._rows_of_a_chunk(name)
        for start in range(0, shape[0], step):
            rows = np.empty((min(step, shape[0] - start), *shape[1:]), np.float32)
            self._fill(rows, name, start)
            yield rows

    def _rows_of_a_chunk(self, name: str) -> int:
        return max(1, CHUNK_BYTES // (4 * max(math.prod(self._find(name).shape[1:]), 1)))

    def _find(self, name: str) -> Stored:
        stored = self._stored.get(name)
        if stored is None:
            raise ExportError(f"{self.folder}: tensor {name!r} is missing from the weights")
        return stored

    def _fill(self, rows: Float32, name: str, start: int) -> None:
        """Read a tensor's rows from `start` on; widened in the one pass that writes them."""
        stored = self._find(name)
        if stored.dtype not in STORAGE:
            raise ExportError(
                f"{stored.file}: tensors of {stored.dtype} are not read, only {', '.join(STORAGE)}"
            )
        kind, size = STORAGE[stored.dtype]
        descriptor = self._descriptor(stored.file)
        raw: NDArray[Any] = rows if stored.dtype == "F32" else np.empty(rows.shape, kind)
        offset = stored.offset + start * math.prod(stored.shape[1:]) * size
        _read_exactly(descriptor, stored.file, offset, raw.reshape(-1).view(np.uint8).data)
        if stored.dtype == "BF16":  # the upper half of a float32
            np.left_shift(raw, 16, out=rows.view(np.uint32), dtype=np.uint32)
        elif raw is not rows:
            rows[...] = raw
        if not np.isfinite(rows).all():
            raise ExportError(f"{stored.file}: tensor {name!r} holds numbers that are not finite")

    def _descriptor(self, file: Path) -> int:
        with self._opening:
            if file not in self._descriptors:
                self._descriptors[file] = os.open(file, os.O_RDONLY)
            return self._descriptors[file]

    def _check_index(self) -> None:
        index = read_json_object(self.folder / INDEX)
        if index is None or (self.folder / SINGLE) in self.files:
            return
        lost = sorted(name for name in index["weight_map"] if name not in self._stored)
        if lost:
            raise ExportError(f"{self.folder / INDEX}: tensor {lost[0]!r} is in none of the shards")


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder: the single one, or the shards of its index."""
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    index = read_json_object(folder / INDEX)
    if index is None:
        raise ExportError(f"{folder}: holds neither {SINGLE} nor {INDEX}; only safetensors weights are read")
    names = index.get("weight_map")
    if not isinstance(names, dict) or not names:
        raise ExportError(f"{folder / INDEX}: weight_map: must be an object of tensor -> file")
    files = [folder / name for name in sorted(set(map(str, names.values())))]
    for file in files:
        if not file.is_file():
            raise ExportError(f"{file}: missing shard, named by {INDEX}")
    return files


def _read_header(file: Path) -> dict[str, Stored]:
    size = file.stat().st_size
    with about(file), file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(HEADER_LIMIT_BYTES, size - 8):
            raise ExportError(f"{file}: not a safetensors file (header of {length} bytes in {size})")
        try:
            header = json.loads(stream.read(length))
        except ValueError as error:
            raise ExportError(f"{file}: the safetensors header is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise ExportError(f"{file}: the safetensors header must be a JSON object of tensors")
    return {
        name: _parse_entry(file, name, entry, 8 + length, size)
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _parse_entry(file: Path, name: str, entry: Any, start: int, file_bytes: int) -> Stored:
    try:
        dtype, shape = str(entry["dtype"]), tuple(map(int, entry["shape"]))
        begin, end = map(int, entry["data_offsets"])
    except (KeyError, TypeError, ValueError, OverflowError):
        rule = "must be an object with dtype, shape and two data_offsets: the header is damaged"
        raise ExportError(f"{file}: tensor {name!r}: {rule}") from None
    if dtype not in STORAGE:
        return Stored(file, start + begin, dtype, shape)  # refused when it is read, if ever
    is_within = 0 <= begin <= end <= file_bytes - start
    if min(shape, default=0) < 0 or end - begin != math.prod(shape) * STORAGE[dtype][1] or not is_within:
        raise ExportError(
            f"{file}: tensor {name!r} is cut short or misshapen: the file is truncated or damaged"
        )
    return Stored(file, start + begin, dtype, shape)


def _read_exactly(descriptor: int, file: Path, offset: int, view: memoryview) -> None:
    done = 0
    while done < len(view):
        with about(file):
            got = os.preadv(descriptor, [view[done:]], offset + done)
        if got == 0:
            raise ExportError(f"{file}: ends {len(view) - done} bytes too early")
        done += got
