"""What a call that writes gives back besides its value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """A value, and what the client is told of how it came about."""

    value: T
    replayed: bool = False
    """It was made for an earlier attempt at the same request."""
    version: int | None = None
    """The version of the conversation that the value shows or has led to, where there is one."""
