"""The C library's allocator, told to give large arrays back to the system as soon as they are freed.

Owns one setting. glibc raises the size from which it does so with every such array, up to 32 MiB; weights of
half that, streamed in and out, then leave a heap full of holes: 1.2 GB of them in Qwen2.5-0.5B's shape.

Source: https://man7.org/linux/man-pages/man3/mallopt.3.html (M_MMAP_THRESHOLD)
"""

from __future__ import annotations

import ctypes

M_MMAP_THRESHOLD = -3
LARGE_BYTES = 4 << 20


def give_back_large_arrays() -> None:
    """Set it for this process; another C library than glibc is left as it is."""
    try:
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
    except (AttributeError, OSError, TypeError):  # no such function, or no such way to look for it
        return
