"""What an answer may rest on, and what was read of it, as preparing, reading and telling hand it on.

Knows no model and no OpenAI names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from handler.engine.certainty import Certainty


@dataclass(frozen=True)
class Part:
    """A turn that may be left out; the prompt without it is None where there is none, or no time for it, or
    it is far back."""

    role: str
    messages: tuple[int, ...]
    item_ids: tuple[str, ...]
    prompt_ids: Sequence[int] | None


@dataclass
class Read:
    """What was computed so far."""

    without: list[float | None]  # log-likelihood of the answer without each part
    certainties: Sequence[Certainty] = field(default_factory=tuple)
    ms: float = 0.0
