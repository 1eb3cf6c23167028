"""How fast prompts have been read so far, to refuse at once what cannot end in time.

Knows neither clocks nor prompts.
"""

from __future__ import annotations

LEAST_TOKENS = 32  # with fewer, fixed costs would be taken for slowness


class Speed:
    """Tokens a second, as last seen; a slow moment counts half, a fast one in full."""

    def __init__(self) -> None:
        self._tokens_per_s: float | None = None

    def learn(self, tokens: int, seconds: float) -> None:
        """Take in what so many tokens took."""
        if tokens >= LEAST_TOKENS and seconds > 0:
            seen, known = tokens / seconds, self._tokens_per_s
            self._tokens_per_s = seen if known is None else max(seen, 0.5 * (known + seen))

    def needed_s(self, tokens: int) -> float | None:
        """Predict what so many tokens will take; None as long as nothing is known."""
        return None if self._tokens_per_s is None else max(0, tokens) / self._tokens_per_s
