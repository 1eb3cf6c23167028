"""What could not be compared: told at once, so that the others go on, and kept for the table's own words.

Owns the reasons by source. Does not know what failed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from export.errors import reason
from handler.errors import DormouseError


class LeftOut:
    """Sources without a place in the table; `reasons` says why, by source."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    @contextmanager
    def unless_done(self, source: str) -> Iterator[None]:
        """One step for `source`, which is left out if it fails."""
        try:
            yield
        except (DormouseError, OSError) as error:
            self.add(source, reason(error))

    def add(self, source: str, why: str) -> None:
        """Leave `source` out, and say so."""
        self.reasons[source] = why
        print(f"export: {source}: {why}", file=sys.stderr)
