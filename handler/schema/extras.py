"""The vendor's corner of every answer, `dormouse: {...}`: receipt, seed, the real reason for stopping."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from handler.schema.explanation import Explanation
from handler.schema.fields import Answer

StopReason = Literal["stop", "length", "deadline", "cancelled"]


class Receipt(Answer):
    """What the answer took. Times are wall clock; costs are at the configured prices, null outside Lambda."""

    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    prefill_ms: float
    decode_ms: float
    tokens_per_s: float | None
    cold: bool
    init_ms: float
    memory_mib: int | None
    gb_s: float | None
    cost_usd: float | None
    # The tokens do not depend on what was cached or guessed, nor on how the prompt was cut. This and the next
    # have defaults for what was stored before receipts said so.
    exact: bool = False
    instruction_set: str = ""  # which kernels computed them; other ones may give other tokens


class Dormouse(Answer):
    """Facts for which OpenAI has no field."""

    receipt: Receipt
    seed: int
    stop_reason: StopReason
    dropped_items: list[str] = Field(default_factory=list)
    dropped_older: bool = False  # and all that came before these, or before all that was read
    explanation: Explanation | None = Field(default=None, exclude_if=lambda told: told is None)
