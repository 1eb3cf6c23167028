"""What the engine's generators hand to one another: tokens, pieces of text, and why an answer ended.

Knows nothing of how any of them is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# stop: end-of-sequence token or stop string; length: max_tokens or the context is used up;
# deadline and cancelled: `should_stop` said so.
StopReason = Literal["stop", "length", "deadline", "cancelled"]

# text: for whoever reads; name: a function call begins; arguments: a part of them; end: the call is whole.
Kind = Literal["text", "name", "arguments", "end"]


@dataclass(frozen=True, slots=True)
class Token:
    """One generated id; the log-probabilities only where they were asked for."""

    id: int
    logprob: float | None = None  # of the model's own distribution, before temperature and filters
    top: tuple[tuple[int, float], ...] = ()  # most likely (id, logprob), best first


@dataclass(frozen=True, slots=True)
class Piece:
    """Text ready to be shown, and the tokens whose text begins in it (or in nothing at all).

    One without either says that there is nothing yet: the prompt is still being computed.
    """

    text: str
    tokens: tuple[Token, ...] = ()
    kind: Kind = "text"

    @property
    def is_sign_of_life(self) -> bool:
        """Whether there is nothing in it."""
        return self.kind == "text" and not self.text and not self.tokens
