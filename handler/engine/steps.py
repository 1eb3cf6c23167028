"""What a call of several rows costs against one of one row: by this a draft is made longer or shorter.

Owns the table. The costs decide how fast an answer comes, never what it says. Does not know models or clocks.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass


@dataclass(frozen=True)
class StepCosts:
    """Seconds, or any other unit, of calls of so many rows; between two counts it rises evenly."""

    rows: tuple[int, ...]
    costs: tuple[float, ...]

    def of(self, rows: int) -> float:
        """The cost of a call of `rows`; beyond the table it rises as at its end."""
        at = min(max(bisect.bisect_left(self.rows, rows), 1), len(self.rows) - 1)
        low, high = self.rows[at - 1], self.rows[at]
        slope = (self.costs[at] - self.costs[at - 1]) / (high - low)
        return self.costs[at - 1] + slope * (rows - low)


# Measured on two cores with AVX-512 VNNI between SmolLM2-135M's shape and Qwen2.5-0.5B's: docs/LOG.md.
USUAL = StepCosts((1, 2, 4, 8, 16), (0.85, 1.0, 1.45, 2.2, 3.75))
