"""What an answer may take: time, looked at once per token, and tokens of the day, looked at before the first.

The time is fixed when the request arrives. Running out of it is no error: the answer ends there, is kept, and
says so. What ending an answer takes (the step under way, the commit) is kept back: as much as it took lately,
and never less than the operator's floor. Knows no store and no clock of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from handler.errors import DeadlineTooShort, QuotaExceeded, RequestError, Unavailable

if TYPE_CHECKING:
    from handler.chat.run import Run

Clock = Callable[[], float]
FADING = 0.9  # an ending that took long is half forgotten after seven others


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
    """From now; the least of what platform, gateway and client allow, the margin included."""
    attempt_s: float
    """The same for any attempt at this request: what a cold start has taken of this one is not taken off."""
    retries: int = 0
    """How often the client says that it has sent this very request before."""
    patience_s: float = math.inf
    """How long the client waits for an answer, as far as it says."""
    allowance: Callable[[], Allowance | None] = lambda: None
    """None where there is no quota. Raises: Unavailable."""
    when_abandoned: Callable[[Callable[[], None]], None] = lambda _: None
    """Has something done when the client hangs up, where that can be known; any thread may do it."""
    runs: list[Run] = field(default_factory=list)
    """What was generated for this request, to be counted when it is over, however it ends."""


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


class Closing:
    """The moment at which all answers of a process end, which is never until it is told to stop."""

    def __init__(self) -> None:
        self.at_s = math.inf

    @property
    def is_near(self) -> bool:
        """Whether the process has been told to stop."""
        return self.at_s < math.inf


class Budget:
    """A moment after which no further token is begun, for whom, and a word that ends it at once."""

    def __init__(
        self, caller: Caller, clock: Clock, margin_s: float = 0.0, closing: Closing | None = None
    ) -> None:
        self.caller = caller
        self._clock = clock
        self._closing = closing or Closing()
        self.started_s = clock()
        self.allowed_s = max(0.0, caller.limit_s - margin_s)
        self._until_s = self.started_s + self.allowed_s
        self.is_cancelled = False

    @property
    def until_s(self) -> float:
        """The moment; it comes nearer when the process is told to stop."""
        return min(self._until_s, self._closing.at_s)

    def cancel(self) -> None:
        """End the answer with the token under way; any thread may say so."""
        self.is_cancelled = True

    def elapsed_s(self) -> float:
        """Time since the request arrived."""
        return self._clock() - self.started_s

    def remaining_s(self) -> float:
        """Time that is left, never below zero."""
        return max(0.0, self.until_s - self._clock())

    def check(self) -> None:
        """Let a request be prepared further while there is time. Raises: DeadlineTooShort, Unavailable."""
        if not self.remaining_s():
            raise self.too_short(None, None, self.allowed_s)

    def too_short(self, prompt_tokens: int | None, needed_s: float | None, limit_s: float) -> RequestError:
        """Tell that making the prompt, or reading its tokens where there are some, takes longer than that."""
        if self._closing.is_near:  # nothing is wrong with the request
            return Unavailable("The server is about to stop; send the request again.", code="stopping")
        return DeadlineTooShort(prompt_tokens, needed_s, limit_s)

    def should_stop(self) -> Literal["deadline", "cancelled"] | None:
        """Answer the generation loop's question between two tokens."""
        if self.is_cancelled:
            return "cancelled"
        return "deadline" if self._clock() >= self.until_s else None
