"""The implementations of `SessionStore` under contract, and how any process opens them at the same place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from handler.sessions import SessionStore
from handler.sessions.sqlite import SqliteSessions

IMPLEMENTATIONS = {"sqlite": SqliteSessions}


@dataclass(frozen=True)
class Place:
    """Where a store keeps its records; plain text, so that it can be handed to another process."""

    kind: str
    address: str
    name: str = ""

    def open(self, clock: Callable[[], float], retention_s: float | None = None) -> SessionStore:
        """Open a store of this kind there."""
        return SqliteSessions(Path(self.address), clock=clock, retention_s=retention_s)


@dataclass
class HandClock:
    """A clock that goes only when told."""

    now_s: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s
