"""How fast this machine reads memory: a STREAM-like probe, run among the contenders in the same rounds.

Each thread takes the dot product of its own large array with itself: one load a value, hardly any
arithmetic, and OpenBLAS lets go of the interpreter lock. Source of the idea:
https://www.cs.virginia.edu/stream/
"""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when numpy is imported: the threads are ours

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

import numpy as np

from bench.workers.serve import Setup, Task, Unsupported, serve

ARRAY_BYTES = 256 << 20  # per thread: many times any cache


class Bandwidth:
    """Reads; generates nothing."""

    def load(self, setup: Setup) -> dict[str, Any]:
        """Allocate and touch the arrays."""
        self.arrays = [np.ones(ARRAY_BYTES // 4, np.float32) for _ in range(setup.threads)]
        self.pool = ThreadPoolExecutor(setup.threads)
        return {"version": np.__version__}

    def encode(self, text: str) -> list[int]:
        """Not a language model."""
        raise Unsupported(text)

    def generate(self, _task: Task, _stamp: Callable[[], None]) -> dict[str, Any]:
        """Not a language model."""
        raise Unsupported("generate")

    def bandwidth(self, passes: int) -> dict[str, float]:
        """Read every array `passes` times; the best pass, in bytes a second, as STREAM reports it."""
        best = 0.0
        for _ in range(passes):
            start = perf_counter()
            list(self.pool.map(lambda array: np.dot(array, array), self.arrays))
            best = max(best, len(self.arrays) * ARRAY_BYTES / (perf_counter() - start))
        return {"bytes_per_s": best}


if __name__ == "__main__":
    serve(Bandwidth())
