"""The time an answer may take: fixed when the request arrives, looked at once per token.

Running out of it is no error: the answer ends there, is kept, and says so. What ending an answer takes (the
step under way, the commit) is kept back: as much as it took lately, and never less than the operator's floor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Clock = Callable[[], float]
FADING = 0.9  # an ending that took long is half forgotten after seven others


@dataclass(frozen=True)
class Caller:
    """Who asks, and how long the answer may take; whatever door it came in by."""

    tenant: str
    request_id: str
    limit_s: float
    """From now; the least of what platform, gateway and client allow, the margin included."""


class Margin:
    """What is kept back of every limit."""

    def __init__(self, floor_s: float) -> None:
        self._floor_s = floor_s
        self._lately_s = 0.0

    def of(self, limit_s: float) -> float:
        """What to keep back of this limit; what was measured takes at most half of it."""
        return max(self._floor_s, min(self._lately_s, limit_s / 2))

    def learn(self, took_s: float) -> None:
        """Note what the end of an answer took."""
        self._lately_s = max(took_s, FADING * self._lately_s)


class Budget:
    """A moment after which no further token is begun; before that, a word that ends it at once."""

    def __init__(self, limit_s: float, clock: Clock) -> None:
        self._clock = clock
        self.started_s = clock()
        self.until_s = self.started_s + limit_s
        self.is_cancelled = False

    def cancel(self) -> None:
        """End the answer with the token under way; any thread may say so."""
        self.is_cancelled = True

    def elapsed_s(self) -> float:
        """Time since the request arrived."""
        return self._clock() - self.started_s

    def remaining_s(self) -> float:
        """Time that is left, never below zero."""
        return max(0.0, self.until_s - self._clock())

    def should_stop(self) -> Literal["deadline", "cancelled"] | None:
        """Answer the generation loop's question between two tokens."""
        if self.is_cancelled:
            return "cancelled"
        return "deadline" if self._clock() >= self.until_s else None
