"""What calls of several rows cost."""

from __future__ import annotations

import itertools

from handler.engine.steps import USUAL, StepCosts
from tests.unit.handler.scripted_engine import scripted_engine


def test_between_two_counts_the_cost_rises_evenly() -> None:
    """Three rows lie between two and four; beyond the table the last slope goes on."""
    costs = StepCosts((1, 2, 4, 8), (1.0, 1.0, 2.0, 3.0))
    assert [costs.of(rows) for rows in (1, 2, 3, 4, 6, 8, 12)] == [1, 1, 1.5, 2, 2.5, 3, 4]


def test_an_engine_measures_its_steps() -> None:
    """The table holds the best time of each row count, by the clock it was given."""
    engine = scripted_engine(lambda _: "hello")
    calls: list[int] = []
    forward = engine.model.forward

    def counted(ids: list[int], cache: object, rows: int = 1) -> object:
        calls.append(len(ids))
        return forward(ids, cache, rows)

    engine.model.forward = counted  # type: ignore[method-assign, assignment]
    ticks = itertools.count()
    engine.measure_steps(lambda: float(sum(calls)) + next(ticks))
    assert engine.step_costs.rows == USUAL.rows
    assert engine.step_costs.costs == tuple(float(rows + 1) for rows in USUAL.rows)


def test_a_context_too_short_to_measure_in_keeps_the_usual_costs() -> None:
    """A model with room for a few tokens only is not asked for more."""
    engine = scripted_engine(lambda _: "hello", context_tokens=32)
    engine.measure_steps()
    assert engine.step_costs is USUAL
