"""The search for the mix that keeps a target: chosen by estimate, built, measured, chosen again.

Owns the order of trials and when to give up. Does not know how a mix is built or measured; the last one built
is the one that stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from export.errors import ExportError
from export.mixed.choice import Candidate, Point, points, under_size

MOST_BUILDS = 5
AIM = 0.9  # of the divergence asked for: an estimate that is a little low shall not cost another build
TINY = 1e-12  # nats: nothing to divide by


@dataclass(frozen=True)
class Trial:
    """One mix that was built, and what was measured of it."""

    point: Point
    size_bytes: int  # graph, weights and tokenizer
    kl: float


Build = Callable[[Point], Trial]


def refuse_too_small(target_bytes: int, floor_bytes: int) -> None:
    """Raise ExportError where four bits alone, norms and the graph not counted, are above the target."""
    if floor_bytes > target_bytes:
        raise _too_small(target_bytes, f"more than {_mb(floor_bytes)}")


def reach_size(
    ordered: Sequence[Candidate], target_bytes: int, least_bytes: int, build: Build
) -> list[Trial]:
    """Build the best mix of at most so many bytes; `least_bytes` is an estimate of what none widened takes.

    Raises: ExportError when even that is larger.
    """
    trials: list[Trial] = []
    while len(trials) < MOST_BUILDS:
        if trials:  # now it is known what all the rest takes
            least_bytes = trials[-1].size_bytes - trials[-1].point.bytes_more
        point = under_size(ordered, target_bytes - least_bytes)
        if trials and point == trials[-1].point:
            break
        trials.append(build(point))
    if trials[-1].size_bytes > target_bytes:
        raise _too_small(target_bytes, _mb(least_bytes))
    return trials


def reach_kl(ordered: Sequence[Candidate], target: float, build: Build) -> list[Trial]:
    """Build the smallest mix, by estimate, whose measured divergence is at most the target.

    Estimates are those of single matrices added up: the first build says what they amount to together.

    Raises: ExportError when not even all matrices widened are so close.
    """
    path = points(ordered)
    at = 0
    trials = [build(path[at])]
    while trials[-1].kl > target and at < len(path) - 1:
        at = _next(path, at, target, trials) if len(trials) < MOST_BUILDS - 1 else len(path) - 1
        trials.append(build(path[at]))
    if trials[-1].kl > target:
        raise ExportError(
            f"--target-kl: {target:g} nats cannot be met: all in eight bits is {trials[-1].kl:.3g} nats from "
            f"the source, at {_mb(trials[-1].size_bytes)}; ask for at least that, or take --quant fp32"
        )
    return trials


def _next(path: Sequence[Point], at: int, target: float, trials: Sequence[Trial]) -> int:
    """The first point further on that should keep the target, by the line through what was measured."""
    last, floor = trials[-1], 0.0
    slope = last.kl / max(last.point.kl, TINY)
    if len(trials) > 1:
        before = trials[-2]
        fitted = (before.kl - last.kl) / max(before.point.kl - last.point.kl, TINY)
        if 0 < fitted < slope:  # some of the divergence is no matrix's: activations are rounded too
            slope, floor = fitted, last.kl - fitted * last.point.kl
    wanted = (AIM * target - floor) / slope
    further = (index for index in range(at + 1, len(path)) if path[index].kl <= wanted)
    return next(further, len(path) - 1)


def _too_small(target_bytes: int, least: str) -> ExportError:
    return ExportError(
        f"--target-size: {_mb(target_bytes)} cannot be met: all in four bits takes {least}; ask for at least "
        "that, or for larger blocks (--block)"
    )


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.3g} MB"
