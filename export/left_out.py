"""What could not be compared: told at once, so that the others go on, and kept for the table's own words.

Owns the reasons by name. Does not know what failed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from export.errors import reason
from handler.errors import DormouseError


class LeftOut:
    """What has no place in the table; `reasons` says why, by name."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    @contextmanager
    def unless_done(self, name: str) -> Iterator[None]:
        """One step for `name`, which is left out if it fails."""
        try:
            yield
        except (DormouseError, OSError) as error:
            self.add(name, reason(error))

    def add(self, name: str, why: str) -> None:
        """Leave `name` out, and say so."""
        self.reasons[name] = why
        print(f"export: {name}: {why}", file=sys.stderr)
