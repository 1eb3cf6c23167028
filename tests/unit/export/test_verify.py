"""The checks of values: what counts as the same model, and what as another."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from export.conversion import Computed
from export.errors import VerificationError
from export.evaluate import Fidelity
from export.verdict import Verdict
from export.verify import Check, compare_precisely, compare_rounding, compare_values


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


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_numbers_that_are_none_are_infinitely_far_apart(number: float) -> None:
    """On either side, and in whichever text: NaN is larger than nothing, and would be lost."""
    for found, expected in ((model(0, number), model(0, 0)), (model(0, 0), model(0, number))):
        told = check(found, expected)
        assert (told.passed, told.measured) == (False, math.inf)


def test_logits_that_are_all_the_same_are_rounded_by_nothing() -> None:
    """A model of zeros says of every token the same."""
    told = compare_rounding(model(0), model(0), layers=2)
    assert (told.passed, told.measured) == (True, 0.0)


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("measured", [math.nan, math.inf])
def test_what_is_no_number_cannot_be_accepted(measured: float, required: bool) -> None:
    """No manifest can record it, and --accept is not advised."""
    failed = Check("values", False, measured, 1e-4, "against the original", required)
    verdict = Verdict((failed,), Fidelity(1, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0), exact=True)
    with pytest.raises(VerificationError, match=r"may be 0\.0001 \(against the original\)$"):
        verdict.settled("all the same")
