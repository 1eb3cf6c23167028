"""What the counterfactual pairs showed, as a section of the report. Owns the wording."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from export.probes.bias import Estimate, Gaps, estimate
from export.section import Chart, Section, Series, Table

SHOWN_PAIRS = 8

WHAT = (
    "Sentences in English and Chinese that differ in one person only, each with a good and a bad ending. "
    "The gap says by how many nats a model leans towards the good ending for the first side more than for"
    " the second: 0 is even-handed, above 0 favours the first side, 0.7 is a factor of two. A pair flips "
    "when quantization changes which side it favours, whatever the averages say."
)
NOT_SAID = (
    "What this does not say: the pairs are few, and the project's own. A gap near zero does not make a "
    "model fair, it may be far from even-handed in other words, in other languages, in long answers, or "
    "towards groups that no pair names; and a gap says what is expected of a sentence, not what harm an "
    "answer does. The interval covers the choice of people and sentences, nothing else. Pairs whose gap "
    "is close to zero flip easily: look at how far they moved. Whoever puts the model before people has to "
    "look at what it answers to them."
)


def bias_section(gaps: Gaps, available: int) -> Section:
    """The section; `available` is how many pairs there are, whether read or not."""
    groups = gaps.of_groups()
    return Section(
        title="Bias",
        key="bias",
        text=(WHAT, _summary(gaps, available), NOT_SAID),
        tables=(
            Table(
                (
                    "sides",
                    "language",
                    "pairs",
                    "gap, unquantized",
                    "gap, bundle",
                    "spread",
                    "moved by",
                    "flips",
                ),
                tuple(_group_row(own) for own in groups.values()),
                "Gaps in nats, with 95 % intervals",
            ),
            _pair_table(gaps, gaps.widest[:SHOWN_PAIRS], "The widest gaps of the bundle"),
            _pair_table(gaps, gaps.flipped[:SHOWN_PAIRS], "Pairs that flipped, the farthest moved first"),
        ),
        charts=(
            Chart(
                "Each pair before and after quantization",
                "gap, unquantized (nats)",
                "gap, bundle (nats)",
                tuple(
                    _series(name, [own for (group, _), own in groups.items() if group == name])
                    for name in dict.fromkeys(group for group, _ in groups)
                ),
            ),
        ),
        facts=_facts(gaps, available),
    )


def _summary(gaps: Gaps, available: int) -> str:
    moved = np.abs(gaps.bundle - gaps.unquantized)
    read = (
        f"{len(gaps.pairs)} of {available} pairs were read"
        if len(gaps.pairs) < available
        else (f"All {available} pairs were read")
    )
    size, before = np.abs(gaps.bundle).mean(), np.abs(gaps.unquantized).mean()
    return (
        f"{read}. {len(gaps.flipped)} of them flipped; quantization moved a gap by {moved.mean():.2f} nats "
        f"in the mean and {moved.max():.2f} at most. The mean size of a gap is {size:.2f} nats in the bundle "
        f"and {before:.2f} in the unquantized model."
    )


def _group_row(own: Gaps) -> tuple[str, ...]:
    first = own.pairs[0]
    return (
        f"{first.sides[0]} / {first.sides[1]}",
        first.language,
        str(len(own.pairs)),
        _told(estimate(own.unquantized, own.pairs)),
        _told(estimate(own.bundle, own.pairs)),
        f"{own.bundle.std():.2f}",
        _told(estimate(own.bundle - own.unquantized, own.pairs)),
        str(len(own.flipped)),
    )


def _told(found: Estimate) -> str:
    return f"{found.mean:+.2f} ({found.low:+.2f} to {found.high:+.2f})"


def _pair_table(gaps: Gaps, indices: Sequence[int], title: str) -> Table:
    rows = []
    for at in indices:
        pair = gaps.pairs[at]
        sentence = pair.text.format(" / ".join(pair.subjects)) + f"{pair.good} /{pair.bad}"
        rows.append((sentence, f"{gaps.unquantized[at]:+.2f}", f"{gaps.bundle[at]:+.2f}"))
    return Table(("pair", "gap, unquantized", "gap, bundle"), tuple(rows), title)


def _series(name: str, groups: Sequence[Gaps]) -> Series:
    points = [
        (float(before), float(after))
        for own in groups
        for before, after in zip(own.unquantized, own.bundle, strict=True)
    ]
    return Series(name, tuple(points))


def _facts(gaps: Gaps, available: int) -> dict[str, Any]:
    flipped = set(gaps.flipped)
    return {
        "pairs": len(gaps.pairs),
        "pairs_available": available,
        "flips": len(flipped),
        "gap_size_mean": float(np.abs(gaps.bundle).mean()),
        "gap_size_mean_unquantized": float(np.abs(gaps.unquantized).mean()),
        "moved_mean": float(np.abs(gaps.bundle - gaps.unquantized).mean()),
        "groups": [
            {
                "group": group,
                "language": language,
                "pairs": len(own.pairs),
                "gap": dataclasses.asdict(estimate(own.bundle, own.pairs)),
                "gap_unquantized": dataclasses.asdict(estimate(own.unquantized, own.pairs)),
                "moved": dataclasses.asdict(estimate(own.bundle - own.unquantized, own.pairs)),
                "spread": float(own.bundle.std()),
                "flips": len(own.flipped),
            }
            for (group, language), own in gaps.of_groups().items()
        ],
        "items": [
            {
                "group": pair.group,
                "language": pair.language,
                "text": pair.text,
                "subjects": list(pair.subjects),
                "gap": float(gaps.bundle[at]),
                "gap_unquantized": float(gaps.unquantized[at]),
                "flipped": at in flipped,
            }
            for at, pair in enumerate(gaps.pairs)
        ],
    }
