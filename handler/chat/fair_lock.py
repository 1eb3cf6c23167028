"""A lock that is handed over in the order of arrival.

With `threading.Lock`, whoever asks anew every second, to show a sign of life in between, goes to the end of
the line each time. Knows nothing of what is locked, and no clock: whoever asks says when it came.
"""

from __future__ import annotations

from threading import Condition


class FairLock:
    """Of those who wait at the moment, the one that came first gets it; any thread may release it."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._is_held = False
        self._waiting: list[float] = []  # when they came

    def acquire(self, came_s: float, limit_s: float = 0.0) -> bool:
        """Wait for the lock, up to a limit; False where others have it, or come first, until then."""
        with self._changed:
            self._waiting.append(came_s)
            try:
                if not self._changed.wait_for(lambda: self._is_next(came_s), limit_s):
                    return False
                self._is_held = True
                return True
            finally:
                self._waiting.remove(came_s)

    def release(self) -> None:
        """Hand the lock over."""
        with self._changed:
            self._is_held = False
            self._changed.notify_all()

    def _is_next(self, came_s: float) -> bool:
        return not self._is_held and came_s == min(self._waiting)
