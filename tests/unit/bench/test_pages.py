"""Pages of numbers say what their inputs say; limits and assumptions are those of the stack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import capacity
from bench.limits import LIMITS
from bench.pages import fill
from bench.sizing.figures import COMPUTED_MIB, Size, amdahl, hosted_usd, sizes
from bench.sizing.page import blocks as sizing_blocks
from handler.prices import MIB_PER_VCPU
from infra import prices
from tests.stack import PROJECT, template

RESULTS: dict[str, Any] = json.loads(capacity.MEASURED.read_text())
PAGES = {
    PROJECT / "docs/scale.md": capacity.blocks,
    PROJECT / "docs/sizing.md": lambda: sizing_blocks(RESULTS),
}
QUICK = Size(1024, True, 1, 1000.0, 100.0, 10.0, 500.0, 100.0)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_what_its_inputs_make_of_it(page: Path) -> None:
    """Filling the page again changes nothing: `python -m bench.capacity`, `python -m bench.sizing report`."""
    assert fill(page.read_text(), PAGES[page]()) == page.read_text()


def test_a_page_and_its_figures_have_to_fit() -> None:
    """A block without figures, or figures without a block, is refused."""
    with pytest.raises(ValueError, match="cost"):
        fill("<!-- figures: cost -->\n<!-- end of figures -->", {})


def test_the_stacks_limits_are_the_templates() -> None:
    """What the plan calls the stack's own limits are the parameters' defaults, and so is the memory size."""
    parameters = template()["Parameters"]
    own = {limit.name.removeprefix("stack: "): limit.value for limit in LIMITS if "stack: " in limit.name}
    assert own == {name: parameters[name]["Default"] for name in ("RequestsPerDay", "RequestsPerSecond")}
    assert parameters["MemoryMib"]["Default"] == capacity.MEMORY_MIB
    assert parameters["SessionTtlDays"]["Default"] == capacity.RETENTION_DAYS


def test_an_answer_costs_its_time() -> None:
    """200 tokens at 1,000 a second, 99 at 100, 10 ms beside: 1.2 s of one GiB, and a request."""
    assert QUICK.answer_ms == pytest.approx(200 + 10 + 990)
    assert QUICK.warm_usd == pytest.approx(1.2 * 0.0000166667 + 0.0000002)
    assert QUICK.cold_usd == pytest.approx(1.7 * 0.0000166667 + 0.0000002)


def test_concurrency_is_littles() -> None:
    """86,400 conversations a day are five answers a second, fifteen at the peak, each for its seconds."""
    load = capacity.Load(86_400, QUICK)
    assert load.peak_per_s == pytest.approx(15)
    assert load.concurrency == pytest.approx(15 * (1.2 + 0.01 * 0.5))
    limits = {limit.name: limit for limit in LIMITS}
    assert load.used(limits["Lambda: concurrent executions"]) == pytest.approx(load.concurrency / 1000)
    assert load.used(limits["stack: RequestsPerDay"]) == pytest.approx(86_400 * 5 / 10_000)


def test_more_conversations_never_cost_more_each() -> None:
    """Tiers only make an answer cheaper, and what is paid for by time is shared by more."""
    each = [sum(capacity.month_usd(capacity.Load(step, QUICK)).values()) / step for step in capacity.STEPS]
    assert each == sorted(each, reverse=True)


def test_computed_sizes_are_between_no_gain_and_all() -> None:
    """Amdahl's law gives the measured speeds at one and two cores, and stays under proportion beyond."""
    assert amdahl(100, 160, 1) == pytest.approx(100)
    assert amdahl(100, 160, 2) == pytest.approx(160)
    assert 160 < amdahl(100, 160, 4) < 320
    assert amdahl(100, 90, 4) == pytest.approx(100)
    for bundle in RESULTS["bundles"].values():
        rows = sizes(bundle["rows"])
        assert [row.memory_mib for row in rows] == sorted(row.memory_mib for row in rows)
        assert {row.memory_mib for row in rows if row.measured} == {r["memory_mib"] for r in bundle["rows"]}


@pytest.mark.parametrize("name", RESULTS["bundles"])
def test_no_size_is_computed_against_what_was_measured(name: str) -> None:
    """More than two vCPUs are faster than the two that were measured, and begin no later."""
    rows = sizes(RESULTS["bundles"][name]["rows"])
    two = next(row for row in rows if row.memory_mib == 2 * MIB_PER_VCPU)
    computed = [row for row in rows if not row.measured]
    assert [row.memory_mib for row in computed] == [*COMPUTED_MIB]
    for row in computed:
        assert row.prefill_tokens_per_s > two.prefill_tokens_per_s
        assert row.decode_tokens_per_s > two.decode_tokens_per_s
        assert row.start_ms == two.start_ms
    assert not any(not row.measured for row in sizes([{**vars(two), "memory_mib": MIB_PER_VCPU}]))


def test_a_hosted_answer_is_priced_by_its_tokens() -> None:
    """200 tokens in and 100 out at a dollar and two a million are 400 millionths."""
    assert hosted_usd(prices.HostedModel("x", 1.0, 2.0, "", "")) == pytest.approx(400e-6)
