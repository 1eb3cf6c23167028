"""Hands out the epochs of a run: the first is the corpus on disk, later ones may be made as they are needed.

Owns the processes that make epochs ahead of the one that is read: a device would else wait for one processor.
Knows nothing of what an epoch says.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Self

from export.house.batches import Example

Make = Callable[[int], Sequence[Example]]


class Epochs:
    """The epochs of a run by their number from 0, with `processes` made ahead in processes of their own.

    `make` makes any but the first; it is sent to the processes, if there are any. After `count` epochs they
    come again.
    """

    def __init__(
        self, first: Sequence[Example], make: Make | None = None, *, count: int = 1, processes: int = 0
    ) -> None:
        self.first, self.make, self.count = first, make or (lambda _: first), count
        self.processes = processes
        self._coming: dict[int, Future[Sequence[Example]]] = {}

    def __enter__(self) -> Self:
        if self.processes:  # spawned, for the threads of a trainer do not survive a fork
            self._pool = ProcessPoolExecutor(self.processes, get_context("spawn"))
        return self

    def __exit__(self, *_: object) -> None:
        if self.processes:
            self._pool.shutdown(cancel_futures=True)

    def __call__(self, number: int) -> Sequence[Example]:
        """Return the examples of an epoch, and have those of the next ones made meanwhile."""
        if self.processes:
            for ahead in range(number, number + self.processes + 1):
                if ahead % self.count and ahead not in self._coming:
                    self._coming[ahead] = self._pool.submit(self.make, ahead % self.count)
        if number % self.count == 0:
            return self.first
        if number in self._coming:
            return self._coming.pop(number).result()
        return self.make(number % self.count)
