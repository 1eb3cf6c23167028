"""The queue before the one model, and whose words it has warm.

Answers are made one after another, in the order in which their requests came: two at once would each be half
as fast and compete for the one warm cache. Knows nothing of what is computed.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TypeVar

from handler.chat.budget import Budget
from handler.chat.fair_lock import FairLock
from handler.chat.run import Run
from handler.engine.engine import Engine
from handler.errors import Unavailable

T = TypeVar("T")
QUEUE_LOOK_S = 1.0  # whoever waits for the model shows a sign of life this often


class ModelQueue:
    """Lets one at a time have the model."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = FairLock()  # not re-entrant: a stream may be begun and ended by different threads
        self._cold = True
        self._warm_tokens = 0
        self._tenant: str | None = None  # whose words are warm; None: nobody's yet

    def warm_tokens(self, tenant: str) -> int:
        """How many tokens of a tenant's prompt may be warm at best, when its turn comes."""
        return self._warm_tokens if self._tenant in (None, tenant) else 0

    def alone(self, run: Run, budget: Budget, work: Iterator[T]) -> Iterator[T | None]:
        """Wait for the model, showing signs of life, and do the work while nobody else has it.

        Raises: Unavailable where the time is up before.
        """
        if not self._lock.acquire(budget.started_s) and not (yield from self._waited(budget)):
            return
        try:
            run.cold, self._cold = run.cold or self._cold, False
            self._turn_to(budget.caller.tenant)
            yield from work
        finally:
            self._warm_tokens = self._engine.warm.tokens
            self._lock.release()

    def _turn_to(self, tenant: str) -> None:
        """Forget another tenant's words: how much of a prompt is warm would tell them, guess by guess."""
        if self._tenant not in (None, tenant):
            self._engine.forget()
        self._tenant = tenant

    def _waited(self, budget: Budget) -> Generator[None, None, bool]:
        """Take the lock from whoever has it; False where the answer is called off before.

        Raises: Unavailable where time is up first, if only just: nothing could be answered any more.
        """
        came_s, look_s = budget.started_s, QUEUE_LOOK_S
        while not (is_ours := self._lock.acquire(came_s, min(look_s, budget.remaining_s()))):
            if budget.should_stop() == "cancelled":
                return False
            if not budget.remaining_s():
                break
            yield None
        if budget.remaining_s():
            return True
        if is_ours:
            self._lock.release()
        raise Unavailable("The model is busy with another request; try again in a moment.", code="busy")
