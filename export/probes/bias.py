"""Counterfactual pairs: one sentence about two people, and whether its good or its bad ending is expected.

Owns the pairs and the measures over them. A preference is how many nats the good ending is likelier than the
bad one; the gap of a pair is the first person's preference less the second's, so that whatever makes a name
or an ending likely by itself cancels out.
"""

from __future__ import annotations

import tomllib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.conversion import RowsOf
from export.probes.readings import Encode, Reading, log_likelihoods, reading_of

PAIRS_FILE = Path(__file__).with_name("pairs.toml")
RESAMPLES = 2000
SURE = (0.025, 0.975)  # a 95 % interval

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """One sentence, about one of the first side and about one of the second."""

    group: str
    language: str
    sides: tuple[str, str]
    subjects: tuple[str, str]
    text: str  # `{}` is the subject
    good: str
    bad: str

    def readings(self, encode: Encode) -> list[Reading]:
        """Good and bad ending about the first, then about the second."""
        contexts = [self.text.format(subject) for subject in self.subjects]
        return [reading_of(encode, context, end) for context in contexts for end in (self.good, self.bad)]


@dataclass(frozen=True)
class Estimate:
    """A mean and its interval by resampling people and sentences."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Gaps:
    """The gaps of the same pairs in two models, in nats; above zero the first side is favoured."""

    pairs: tuple[Pair, ...]
    unquantized: Float64  # [pairs]
    bundle: Float64  # [pairs]

    @cached_property
    def flipped(self) -> list[int]:
        """The pairs whose favoured side is another one in the bundle, the farthest moved first."""
        indices = np.flatnonzero((self.unquantized > 0) != (self.bundle > 0))
        moved = np.abs(self.bundle - self.unquantized)[indices]
        return [int(at) for at in indices[np.argsort(-moved, kind="stable")]]

    @cached_property
    def widest(self) -> list[int]:
        """The pairs by the size of their gap in the bundle."""
        return [int(at) for at in np.argsort(-np.abs(self.bundle), kind="stable")]

    def of_groups(self) -> dict[tuple[str, str], Gaps]:
        """The gaps by group and language, in the pairs' order."""
        names = dict.fromkeys((pair.group, pair.language) for pair in self.pairs)
        return {name: self._only(name) for name in names}

    def _only(self, name: tuple[str, str]) -> Gaps:
        here = [at for at, pair in enumerate(self.pairs) if (pair.group, pair.language) == name]
        return Gaps(tuple(self.pairs[at] for at in here), self.unquantized[here], self.bundle[here])


def read_pairs() -> list[Pair]:
    """Every group's subjects in every sentence of their language, one group after the other in turn."""
    written = tomllib.loads(PAIRS_FILE.read_text(encoding="utf-8"))
    by_group = [_pairs_of(group, written["template"]) for group in written["group"]]
    return [pairs[at] for at in range(max(map(len, by_group))) for pairs in by_group if at < len(pairs)]


def _pairs_of(group: dict[str, Any], templates: Sequence[dict[str, str]]) -> list[Pair]:
    fitting = [template for template in templates if template["language"] == group["language"]]
    return [
        Pair(
            group["name"],
            group["language"],
            tuple(group["sides"]),
            tuple(subjects),
            fitting[(at + turn) % len(fitting)]["text"],
            fitting[(at + turn) % len(fitting)]["good"],
            fitting[(at + turn) % len(fitting)]["bad"],
        )
        for turn in range(len(fitting))  # so that a shorter list, too, has all the subjects and sentences
        for at, subjects in enumerate(group["subjects"])
    ]


def measure_gaps(pairs: Sequence[Pair], encode: Encode, unquantized: RowsOf, bundle: RowsOf) -> Gaps:
    """Read every pair with both models, one after the other."""
    readings = [reading for pair in pairs for reading in pair.readings(encode)]
    before, after = (gaps_of(log_likelihoods(model, readings)) for model in (unquantized, bundle))
    return Gaps(tuple(pairs), before, after)


def gaps_of(scores: Sequence[float]) -> Float64:
    """The gap of each pair from the scores of its four readings."""
    by_pair = np.array(scores, np.float64).reshape(-1, 2, 2)  # [pairs, subjects, endings]
    preferences = by_pair[..., 0] - by_pair[..., 1]
    gaps: Float64 = preferences[:, 0] - preferences[:, 1]
    return gaps


def estimate(values: Float64, pairs: Sequence[Pair]) -> Estimate:
    """The mean of the pairs' values, and the interval in which it lies for most resamplings.

    Pairs of the same people, or in the same sentence, go together: both are drawn anew, each for itself.

    Source: Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979 (the percentile interval); Owen,
    "The pigeonhole bootstrap", 2007 (rows and columns drawn each for itself).
    """
    random = np.random.default_rng(0)
    people, sentences = [pair.subjects for pair in pairs], [pair.text for pair in pairs]
    weights = _drawn(people, random) * _drawn(sentences, random)  # [resamples, pairs]
    totals = weights.sum(-1)
    met = totals > 0  # where the pairs are few, some draws have none of them
    low, high = np.quantile(weights[met] @ values / totals[met], SURE)
    return Estimate(float(values.mean()), float(low), float(high))


def _drawn(keys: Sequence[Hashable], random: np.random.Generator) -> Float64:
    """How often each pair's key comes when the keys are drawn with replacement.

    Shapes: [RESAMPLES, pairs].
    """
    number = {key: at for at, key in enumerate(dict.fromkeys(keys))}
    count = len(number)
    times = random.multinomial(count, np.full(count, 1 / count), RESAMPLES)
    drawn: Float64 = times[:, [number[key] for key in keys]].astype(np.float64)
    return drawn
