"""Medians, quartiles and paired ratios."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.spread import Spread, paired_ratio, spread

POSITIVE = st.floats(0.1, 1e6)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([7.0], Spread(7, 7, 7, 1)),
        ([1.0, 2.0, 3.0, 4.0, 5.0], Spread(3, 2, 4, 5)),
        ([4.0, 1.0], Spread(2.5, 1.75, 3.25, 2)),
    ],
)
def test_known_spreads(values, wanted):
    """The middle value, and quartiles by linear interpolation."""
    assert spread(values) == wanted


def test_nothing_has_no_spread():
    """No measurement is an error, not a zero."""
    with pytest.raises(ValueError, match="no measurements"):
        spread([])


@given(st.lists(POSITIVE, min_size=1))
def test_the_median_lies_between_the_quartiles(values):
    """Whatever the measurements, low <= median <= high, all within what was measured."""
    found = spread(values)
    slack = 1e-9 * max(values)
    assert min(values) - slack <= found.low <= found.median + slack
    assert found.median <= found.high + slack <= max(values) + 2 * slack


@given(st.lists(st.tuples(POSITIVE, st.floats(0.5, 2.0)), min_size=1, max_size=8), st.floats(0.25, 4.0))
def test_what_slows_a_whole_round_cancels_out(rounds, ratio):
    """Two contenders whose ratio is fixed keep it, however unlike the rounds are."""
    lower = {at: value * slowed for at, (value, slowed) in enumerate(rounds)}
    upper = {at: value * ratio for at, value in lower.items()}
    found = paired_ratio(upper, lower)
    assert found is not None
    assert found.median == pytest.approx(ratio)


def test_only_common_rounds_count():
    """A round that one side missed is left out; without common rounds there is no ratio."""
    found = paired_ratio({0: 4.0, 1: 9.0}, {1: 3.0, 2: 1.0})
    assert found == Spread(3, 3, 3, 1)
    assert paired_ratio({0: 1.0}, {1: 1.0}) is None
