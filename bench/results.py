"""What a run found: samples as they came, kept whole so that any summary can be made again from the file.

Owns the JSON file's shape. Does not know contenders' runtimes or how figures are shown.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.artifacts import Facts
from bench.spread import Spread, paired_ratio, spread

MACHINE = "machine"  # in the place of a contender: the bandwidth probe


@dataclass(frozen=True)
class Sample:
    """One figure of one contender in one round."""

    contender: str
    metric: str
    round: int
    value: float


@dataclass
class ShapeResult:
    """Everything measured on one model shape."""

    shape: str
    facts: dict[str, Facts] = field(default_factory=dict)
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)  # what workers say of themselves
    absent: dict[str, str] = field(default_factory=dict)  # contender, or "contender scenario" -> why
    samples: list[Sample] = field(default_factory=list)
    exactness: list[dict[str, Any]] = field(default_factory=list)

    def add(self, contender: str, round_: int, figures: dict[str, float]) -> None:
        """Keep one reply's figures."""
        self.samples += [Sample(contender, metric, round_, value) for metric, value in figures.items()]

    def by_round(self, contender: str, metric: str) -> dict[int, float]:
        """One figure of one contender, round by round."""
        return {s.round: s.value for s in self.samples if (s.contender, s.metric) == (contender, metric)}

    def spread(self, contender: str, metric: str) -> Spread | None:
        """Median and quartiles, or None where nothing was measured."""
        values = list(self.by_round(contender, metric).values())
        return spread(values) if values else None

    def best(self, contender: str, prefix: str) -> str | None:
        """Which of a contender's metrics with this prefix has the highest median."""
        names = {s.metric for s in self.samples if s.contender == contender and s.metric.startswith(prefix)}
        medians = {name: found.median for name in names if (found := self.spread(contender, name))}
        return max(medians, key=medians.__getitem__, default=None)

    def ratio(self, upper: tuple[str, str], lower: tuple[str, str]) -> Spread | None:
        """(contender, metric) over (contender, metric), paired by round."""
        return paired_ratio(self.by_round(*upper), self.by_round(*lower))


@dataclass
class Result:
    """One run of the bench."""

    date: str
    command: str
    rounds: int
    threads: int
    machine: dict[str, Any]
    shapes: dict[str, ShapeResult] = field(default_factory=dict)

    def save(self, file: Path) -> None:
        """Write the file anew; called after every round, so that an interrupted run is not lost."""
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self), indent=1))
        partial.replace(file)


def read(file: Path) -> Result:
    """Read a saved run."""
    raw = json.loads(file.read_text())
    shapes = {}
    for name, shape in raw.pop("shapes").items():
        facts = {key: Facts(**value) for key, value in shape.pop("facts").items()}
        samples = [Sample(**value) for value in shape.pop("samples")]
        shapes[name] = ShapeResult(facts=facts, samples=samples, **shape)
    return Result(shapes=shapes, **raw)
