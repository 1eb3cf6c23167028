"""Medians and spreads of repeated measurements, and ratios of two contenders measured in the same rounds.

Knows nothing of what was measured.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """What a handful of measurements say: the middle one, and where the middle half lies."""

    median: float
    low: float  # first quartile
    high: float  # third quartile
    count: int


def spread(values: Sequence[float]) -> Spread:
    """Summarize measurements; quartiles by linear interpolation between them.

    Raises: ValueError when there are none.
    """
    if not values:
        raise ValueError("no measurements to summarize")
    if len(values) == 1:
        return Spread(values[0], values[0], values[0], 1)
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high, len(values))


def paired_ratio(upper: Mapping[int, float], lower: Mapping[int, float]) -> Spread | None:
    """Divide round by round, then summarize: what slows a whole round slows both and cancels out.

    Keys are rounds; None when no round has both.
    """
    rounds = sorted(upper.keys() & lower.keys())
    return spread([upper[at] / lower[at] for at in rounds]) if rounds else None
