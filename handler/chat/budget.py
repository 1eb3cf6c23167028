"""What an answer may take: time, looked at once per token, and tokens of the day, looked at before the first.

The time is fixed when the request arrives. Running out of it is no error: the answer ends there, is kept, and
says so. Knows no store and no clock of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from handler.errors import QuotaExceeded

if TYPE_CHECKING:
    from handler.chat.inference import Run

Clock = Callable[[], float]


@dataclass(frozen=True)
class Allowance:
    """What a tenant may use on one day, and what it had used when the request came."""

    limit_tokens: int
    used_tokens: int
    reset_s: int
    """From now until the next day begins."""

    @property
    def remaining_tokens(self) -> int:
        """What is left; an answer that runs over it is let finish, so it may have been less than nothing."""
        return max(0, self.limit_tokens - self.used_tokens)

    def check(self) -> None:
        """Raises: QuotaExceeded where nothing is left."""
        if not self.remaining_tokens:
            raise QuotaExceeded(self.limit_tokens, self.used_tokens, self.reset_s)


@dataclass(frozen=True)
class Caller:
    """Who asks, and what the answer may take; whatever door it came in by."""

    tenant: str
    request_id: str
    limit_s: float
    """From now; the least of what platform, gateway and client allow, less the margin."""
    retries: int = 0
    """How often the client says that it has sent this very request before."""
    patience_s: float = math.inf
    """How long the client waits for an answer, as far as it says."""
    allowance: Allowance | None = None
    """None where there is no quota."""
    runs: list[Run] = field(default_factory=list)
    """What was generated for this request, to be counted when it is over, however it ends."""


class Budget:
    """A moment after which no further token is begun, and for whom."""

    def __init__(self, caller: Caller, clock: Clock) -> None:
        self.caller = caller
        self._clock = clock
        self.started_s = clock()
        self.until_s = self.started_s + caller.limit_s

    def elapsed_s(self) -> float:
        """Time since the request arrived."""
        return self._clock() - self.started_s

    def remaining_s(self) -> float:
        """Time that is left, never below zero."""
        return max(0.0, self.until_s - self._clock())

    def should_stop(self) -> Literal["deadline"] | None:
        """Answer the generation loop's question between two tokens."""
        return "deadline" if self._clock() >= self.until_s else None
