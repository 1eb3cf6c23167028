"""The C library's allocator: when large arrays go back to the system.

Owns its settings. glibc raises the size from which it gives arrays back as soon as they are freed with every
such array, up to 32 MiB; weights of half that, streamed in and out, then leave a heap full of holes: 1.2 GB
of them in Qwen2.5-0.5B's shape. So the size is fixed. But what was given back comes again as pages of zeros,
a fifth of the time where the same sizes come and go: there they are kept, and holes given back now and then.

Source: https://man7.org/linux/man-pages/man3/mallopt.3.html (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD),
https://man7.org/linux/man-pages/man3/malloc_trim.3.html
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -3, -1
LARGE_BYTES = 4 << 20
KEPT_BYTES = 32 << 20  # the largest that glibc takes; smaller arrays are kept for the next of their size
KEPT_AT_THE_TOP_BYTES = 1 << 30  # free at the heap's end


def give_back_large_arrays() -> None:
    """Set it for this process; another C library than glibc is left as it is."""
    _call("mallopt", M_MMAP_THRESHOLD, LARGE_BYTES)


@contextlib.contextmanager
def large_arrays_kept() -> Iterator[None]:
    """Keep freed arrays for the next ones inside the block, which calls `give_back` now and then."""
    _call("mallopt", M_MMAP_THRESHOLD, KEPT_BYTES)
    _call("mallopt", M_TRIM_THRESHOLD, KEPT_AT_THE_TOP_BYTES)
    try:
        yield
    finally:
        _call("mallopt", M_MMAP_THRESHOLD, LARGE_BYTES)
        _call("mallopt", M_TRIM_THRESHOLD, LARGE_BYTES)
        give_back()


def give_back() -> None:
    """Give all that is free back to the system."""
    _call("malloc_trim", 0)


def _call(function: str, *arguments: int) -> None:
    # no such function, or no such way to look for it
    with contextlib.suppress(AttributeError, OSError, TypeError):
        getattr(ctypes.CDLL(None), function)(*arguments)
