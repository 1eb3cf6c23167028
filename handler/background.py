"""One call in a thread of its own, for what is to happen while the process goes on importing.

Knows nothing of what is called. `concurrent.futures` does the same and takes 4 ms to import.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """A call under way from the moment it is made; a process waits for it before it ends."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._results: list[T] = []
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run)
        self._thread.start()

    def wait(self, limit_s: float | None = None) -> None:
        """Wait until the call is over, whatever became of it, or until the limit."""
        self._thread.join(limit_s)

    def result(self) -> T:
        """Wait for what the call gives; raises what it raised."""
        self.wait()
        if self._error is not None:
            raise self._error
        return self._results[0]

    def _run(self) -> None:
        try:
            self._results.append(self._call())
        except BaseException as error:
            self._error = error
