"""Choosing which matrices get eight bits: under a size, or until a divergence is reached."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.errors import ExportError
from export.mixed.choice import Candidate, Point, candidates, points, under_size
from export.mixed.search import MOST_BUILDS, Trial, reach_kl, reach_size, refuse_too_small
from export.mixed.target import Target, parse_size
from export.mixed.units import Unit
from export.quantize import Recipe

INT4 = Recipe.named("int4")
divergences = st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=12)


def some(kls: list[float]) -> list[Candidate]:
    """Matrices of several sizes, with these divergences."""
    units = [Unit(f"layer.{at}.mlp.output", (f"w{at}",), 64 * (1 + at % 3), 128) for at in range(len(kls))]
    return candidates(units, {unit.name: kl for unit, kl in zip(units, kls, strict=True)}, INT4)


def building(
    kl_of: Callable[[float], float], rest_bytes: int = 1000
) -> tuple[list[Point], Callable[..., Trial]]:
    """What was built so far, and a build whose divergence is a function of the estimate."""
    built: list[Point] = []

    def build(point: Point) -> Trial:
        built.append(point)
        return Trial(point, rest_bytes + point.bytes_more, kl_of(point.kl))

    return built, build


@pytest.mark.parametrize(
    ("text", "expected"),
    [("400MB", 400_000_000), ("1.5GB", 1_500_000_000), ("250MiB", 250 << 20), ("12 kb", 12_000)],
)
def test_a_size_is_read(text: str, expected: int) -> None:
    """Decimal and binary units, in either case."""
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["400", "MB", "-4MB", "4TB", "0MB", "4M", f"1{'0' * 400}GB"])
def test_what_is_no_size_is_refused_by_the_option(text: str) -> None:
    """The message shows sizes that are read."""
    with pytest.raises(ExportError, match=r"--target-size: .*, must be a size such as 400MB"):
        parse_size(text)


@pytest.mark.parametrize("kl", [0.0, -1.0, float("nan")])
def test_a_divergence_has_to_be_above_zero(kl: float) -> None:
    """Named by the option."""
    with pytest.raises(ExportError, match=r"--target-kl: .*, must be a number of nats above 0"):
        Target.parse(None, kl)


def test_one_target_at_a_time() -> None:
    """Both together are refused, none is none."""
    with pytest.raises(ExportError, match="--target-kl: given together with --target-size"):
        Target.parse("4MB", 0.1)
    assert Target.parse(None, None) is None


@given(kls=divergences, room=st.integers(0, 200_000))
def test_a_choice_under_a_size_fits(kls: list[float], room: int) -> None:
    """It takes no more than the room, nothing twice, and nothing more would fit."""
    ordered = some(kls)
    point = under_size(ordered, room)
    names = [each.unit.name for each in point.widened]
    left = room - point.bytes_more
    assert left >= 0
    assert len(names) == len(set(names))
    assert all(each.bytes_more > left for each in ordered if each.unit.name not in names)


@given(kls=divergences)
def test_the_way_from_none_to_all_gets_closer_with_every_byte(kls: list[float]) -> None:
    """Bytes rise, divergence falls, and each step saves less for a byte than the one before."""
    path = points(some(kls))
    steps = [(b.bytes_more - a.bytes_more, a.kl - b.kl) for a, b in itertools.pairwise(path)]
    assert all(more > 0 and saved > 0 for more, saved in steps)
    rates = [saved / more for more, saved in steps]
    assert all(a >= b * (1 - 1e-6) for a, b in itertools.pairwise(rates))


@given(kls=divergences, scale=st.floats(0.1, 3.0), floor=st.floats(0.0, 0.1), part=st.floats(0.05, 1.5))
def test_a_divergence_is_reached_or_refused_within_the_builds(
    kls: list[float], scale: float, floor: float, part: float
) -> None:
    """Whatever the estimate is off by: the last build keeps the target, or all widened could not."""
    ordered = some(kls)
    target = part * sum(kls)
    built, build = building(lambda kl: floor + scale * kl)
    best = floor + scale * points(ordered)[-1].kl
    if best > target:
        with pytest.raises(ExportError, match=r"--target-kl: .* cannot be met: all in eight bits is"):
            reach_kl(ordered, target, build)
    else:
        assert reach_kl(ordered, target, build)[-1].kl <= target
    assert len(built) <= MOST_BUILDS
    assert all(len(a.widened) < len(b.widened) for a, b in itertools.pairwise(built))


def test_four_bits_are_kept_where_they_are_close_enough() -> None:
    """One build, nothing widened."""
    built, build = building(lambda kl: 0.01)
    assert reach_kl(some([1.0, 2.0]), 0.02, build)[-1].point.widened == ()
    assert len(built) == 1


@given(kls=divergences, off=st.integers(-400, 400), room=st.integers(0, 100_000))
def test_a_size_is_kept_although_the_rest_was_estimated_wrong(kls: list[float], off: int, room: int) -> None:
    """The first build tells what the rest takes; the last one fits."""
    rest = 10_000
    _, build = building(lambda kl: kl, rest_bytes=rest)
    assert reach_size(some(kls), rest + room, rest + off, build)[-1].size_bytes <= rest + room


def test_a_size_below_four_bits_is_refused_before_anything_is_built() -> None:
    """The message says how small it can get."""
    with pytest.raises(ExportError, match=r"--target-size: 1 MB cannot be met: .* takes more than 9 MB"):
        refuse_too_small(1_000_000, 9_000_000)


def test_a_size_that_only_the_build_shows_to_be_too_small_is_refused_exactly() -> None:
    """Ten bytes below what four bits take."""
    _, build = building(lambda kl: kl, rest_bytes=10_000)
    with pytest.raises(ExportError, match=r"all in four bits takes 0\.01 MB"):
        reach_size(some([1.0]), 9_990, 9_000, build)
