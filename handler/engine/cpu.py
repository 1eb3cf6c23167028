"""The instruction set that the kernels run on: results are exact on one of them, and differ between them.

Owns the names, which follow ONNX Runtime's own choice of 4-bit kernels, and the reading of /proc/cpuinfo,
where Linux lists what a processor has and the system supports. It is read once, at the start, when ONNX
Runtime chooses too: a process thawed on another host keeps both. Not on Linux, the name is the architecture
alone; an emulator that shows a process its host's /proc makes it wrong. Knows nothing of ONNX Runtime itself.

Source: MLAS_PLATFORM in
https://github.com/microsoft/onnxruntime/blob/v1.32.0/onnxruntime/core/mlas/lib/platform.cpp; softmax on arm64
chooses by SVE.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
FLAGS = ("flags", "Features")  # on x86 and on arm64

_AVX2 = frozenset({"avx2", "fma"})
_AVX512 = _AVX2 | {"avx512f", "avx512bw", "avx512dq", "avx512vl"}
_LEVELS: dict[str, tuple[tuple[str, frozenset[str]], ...]] = {  # best first: the first that is whole is taken
    "x86_64": (
        ("avx512-vnni", _AVX512 | {"avx512_vnni"}),
        ("avx512", _AVX512),
        ("avx2-vnni", _AVX2 | {"avx_vnni"}),
        ("avx2", _AVX2),
        ("sse", frozenset({"sse2"})),
    ),
    "aarch64": (
        ("i8mm sve", frozenset({"i8mm", "sve"})),
        ("i8mm", frozenset({"i8mm"})),
        ("dotprod sve", frozenset({"asimddp", "sve"})),
        ("dotprod", frozenset({"asimddp"})),
        ("neon", frozenset({"asimd"})),
    ),
}


@functools.cache
def instruction_set() -> str:
    """Name this machine's: `x86_64 avx512-vnni`, `aarch64 dotprod`."""
    return name_of(os.uname().machine, flags())


@functools.cache
def flags() -> frozenset[str]:
    """List what the first processor can do, in Linux's words; empty where there is no such list."""
    try:
        with CPUINFO.open() as lines:
            return next((read for read in map(_flags, lines) if read), frozenset())
    except OSError:
        return frozenset()


def name_of(machine: str, listed: Iterable[str]) -> str:
    """Name the best level of an architecture whose flags are all there."""
    has = frozenset(listed)
    level = next((name for name, needed in _LEVELS.get(machine, ()) if needed <= has), "")
    return f"{machine} {level}".rstrip()


def _flags(line: str) -> frozenset[str]:
    key, _, value = line.partition(":")
    return frozenset(value.split()) if key.strip() in FLAGS else frozenset()
