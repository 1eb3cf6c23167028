"""Which matrices are widened first: those that bring the model closest to itself for a byte.

Owns the order, the sums over it and the choice under a size. Divergences are taken to add up, and to fall
with the square of a level's width; both are estimates, and what comes of them is measured. Does not know
models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from export.mixed.units import Unit
from export.quantize import WIDENED_BITS, Recipe


@dataclass(frozen=True)
class Candidate:
    """A matrix that can be widened."""

    unit: Unit
    bytes_more: int
    kl: float  # of it alone in few bits, in nats
    kl_widened: float

    @property
    def saved(self) -> float:
        """What widening it brings, in nats."""
        return self.kl - self.kl_widened


@dataclass(frozen=True)
class Point:
    """Some matrices widened: what they add in bytes, and the divergence that is left by the estimate."""

    widened: tuple[Candidate, ...]
    bytes_more: int
    kl: float

    def recipe(self, base: Recipe) -> Recipe:
        """The recipe that stores them so."""
        return base.widening(name for each in self.widened for name in each.unit.tensors)


def candidates(units: Sequence[Unit], divergences: dict[str, float], recipe: Recipe) -> list[Candidate]:
    """All units, those that save most for a byte first."""
    step = 4.0 ** (recipe.bits - WIDENED_BITS)
    found = [
        Candidate(unit, unit.bytes_more(recipe), divergences[unit.name], divergences[unit.name] * step)
        for unit in units
    ]
    return sorted(found, key=lambda each: each.saved / each.bytes_more, reverse=True)


def points(ordered: Sequence[Candidate]) -> list[Point]:
    """From none widened to all, one more at a time."""
    left = sum(each.kl for each in ordered)
    found, taken = [Point((), 0, left)], 0
    for count, each in enumerate(ordered, start=1):
        taken, left = taken + each.bytes_more, left - each.saved
        found.append(Point(tuple(ordered[:count]), taken, left))
    return found


def under_size(ordered: Sequence[Candidate], room_bytes: int) -> Point:
    """The best that fits: in their order, whatever is too large for the room left passed over."""
    taken: list[Candidate] = []
    for each in ordered:
        if each.bytes_more <= room_bytes:
            taken.append(each)
            room_bytes -= each.bytes_more
    left = sum(each.kl_widened if each in taken else each.kl for each in ordered)
    return Point(tuple(taken), sum(each.bytes_more for each in taken), left)
