"""How fast prompts are read or scored here, as far as it is known: measured before a snapshot, learned since.

Owns the one number that hopeless requests are refused by. Knows no clocks and no budgets.
"""

from __future__ import annotations

from collections.abc import Callable

LEAST_TOKENS = 32  # below that, fixed costs would be taken for slowness, and nothing is refused
TRUST = 0.9


class Pace:
    """Tokens of prompt a second."""

    def __init__(self, measured: Callable[[], float | None] = lambda: None) -> None:
        """`measured` gives the speed to begin with, as soon as there is one."""
        self._measured = measured
        self._learned: float | None = None

    @property
    def tokens_per_s(self) -> float | None:
        """The speed as it is known now; None before anything was measured."""
        return self._learned or self._measured()

    def needed_s(self, tokens: int) -> float:
        """How long so many tokens will take; 0 while nothing is known, and for few, which take no time."""
        speed = self.tokens_per_s
        return tokens / speed if speed and tokens >= LEAST_TOKENS else 0.0

    def learn(self, tokens: int, took_s: float) -> None:
        """Note what so many tokens took: being faster is believed at once, being slower by half."""
        if tokens < LEAST_TOKENS or took_s <= 0:
            return
        seen, known = tokens / took_s, self.tokens_per_s
        self._learned = seen if known is None else max(seen, 0.5 * (known + seen))

    def doubt(self) -> None:
        """Expect a little more after each refusal.

        A refused request teaches nothing, and one slow moment must not shut out long prompts for good.
        """
        if (speed := self.tokens_per_s) is not None:
            self._learned = speed / TRUST
