"""The checks of values: what counts as the same model, and what as another."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from export.conversion import Computed
from export.verify import Check, compare_precisely, compare_values


def model(*errors: float) -> list[Computed]:
    """What a model that is so far from exact arithmetic says of one text for each error."""
    return [Computed(np.full((2, 3), 5 + error, np.float32)) for error in errors]


def exactly(texts: int, *nudged: float) -> Iterator[tuple[Computed, list[Computed]]]:
    """So many texts in exact arithmetic, each with what is so far from it when its input moves."""
    return ((exact, model(*nudged)) for exact in model(*[0.0] * texts))


def check(found: list[Computed], expected: list[Computed]) -> Check:
    return compare_values("values", found, expected, "against the original")


@pytest.mark.parametrize(
    ("found", "expected", "passes"),
    [
        (
            (0.0012, 0.0002),
            (-0.0009, 0.0001),
            True,
        ),  # both round: more than the limit apart, together as far off
        ((0.0012, 0.0030), (-0.0009, 0.0001), False),  # the second text: more than rounding
        (
            (0.0040, 0.0000),
            (0.0000, 0.0000),
            False,
        ),  # the original hardly rounds, so that this is another model
    ],
)
def test_what_float32_itself_rounds_is_no_fault(
    found: tuple[float, ...], expected: tuple[float, ...], passes: bool
) -> None:
    """Values further apart than the limit pass if float64 shows that the original is about as far from it."""
    plain = check(model(*found), model(*expected))
    assert not plain.passed
    precise = compare_precisely(plain, model(*found), model(*expected), exactly(2))
    assert precise.passed is passes
    assert precise.measured == pytest.approx(max(found), rel=1e-2)


def test_the_limit_does_not_shrink_under_float64() -> None:
    """A model that rounds nothing leaves the limit where it was."""
    plain = check(model(0.0006), model(0.0))
    assert compare_precisely(plain, model(0.0006), model(0.0), exactly(1)).limit == plain.limit


def test_what_a_last_digit_moves_is_no_fault() -> None:
    """Where the original happens to be right, but errs when its input moves a little, neither is wrong."""
    plain = check(model(0.0024), model(0.0))
    assert not compare_precisely(plain, model(0.0024), model(0.0), exactly(1, 0.0003, 0.0002)).passed
    assert compare_precisely(plain, model(0.0024), model(0.0), exactly(1, 0.0003, 0.0009)).passed
