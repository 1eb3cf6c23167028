"""One warm cache: the ids computed last, kept so that the next prompt computes only what is new.

One slot is enough, since an execution environment serves one request at a time; requests that overlap all the
same each get a cache of their own. Knows nothing of what ids mean or how caches are made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock

from handler.engine.generate import Cache


class WarmSlot:
    """Holds at most one cache that nobody uses, with the ids in it."""

    def __init__(self, new_cache: Callable[[], Cache]) -> None:
        self._new_cache = new_cache
        self._lock = Lock()
        self._held: tuple[Cache, list[int]] | None = None

    @property
    def tokens(self) -> int:
        """How many ids the cache that nobody uses holds."""
        held = self._held
        return len(held[1]) if held else 0

    def take(self, prompt_ids: Sequence[int]) -> Cache:
        """Hand out a cache that holds a prefix of `prompt_ids`, as long as there is one."""
        with self._lock:
            held, self._held = self._held, None
        if held is None:
            return self._new_cache()
        cache, ids = held
        cache.truncate(common_prefix(ids, prompt_ids))
        return cache

    def put(self, cache: Cache, ids: Sequence[int]) -> None:
        """Take a cache back; it must hold a prefix of `ids`."""
        with self._lock:
            self._held = cache, list(ids[: cache.length])

    def forget(self) -> None:
        """Let go of the cache that nobody uses."""
        with self._lock:
            self._held = None


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """Count the ids that both begin with."""
    pairs = zip(left, right, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))
