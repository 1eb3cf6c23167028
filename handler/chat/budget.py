"""The time an answer may take: fixed when the request arrives, looked at once per token.

Running out of it is no error: the answer ends there, is kept, and says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Clock = Callable[[], float]


@dataclass(frozen=True)
class Caller:
    """Who asks, and how long the answer may take; whatever door it came in by."""

    tenant: str
    request_id: str
    limit_s: float
    """From now; the least of what platform, gateway and client allow, less the margin."""
    retries: int = 0
    """How often the client says that it has sent this very request before."""
    patience_s: float = math.inf
    """How long the client waits for an answer, as far as it says."""


class Budget:
    """A moment after which no further token is begun."""

    def __init__(self, limit_s: float, clock: Clock) -> None:
        self._clock = clock
        self.limit_s = limit_s
        self.started_s = clock()
        self.until_s = self.started_s + limit_s

    def elapsed_s(self) -> float:
        """Time since the request arrived."""
        return self._clock() - self.started_s

    def remaining_s(self) -> float:
        """Time that is left, never below zero."""
        return max(0.0, self.until_s - self._clock())

    def should_stop(self) -> Literal["deadline"] | None:
        """Answer the generation loop's question between two tokens."""
        return "deadline" if self._clock() >= self.until_s else None
