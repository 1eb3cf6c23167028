"""How many conversations a day need what, and cost how much: `python -m bench.capacity` fills docs/scale.md.

Everything is computed: from the assumptions below, the measured times of docs/bench, the table units that a
test counts, AWS's limits and prices. Knows no traffic but the one it assumes.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.limits import ENVIRONMENTS_PER_10_S, LIMITS, PARTITION_GB, PARTITION_READS, PARTITION_WRITES, Limit
from bench.pages import fill, table
from bench.sizing.figures import INPUT_TOKENS, OUTPUT_TOKENS, Size, sizes
from infra import prices, table_units

PROJECT = Path(__file__).parents[1]
PAGE = PROJECT / "docs/scale.md"
MEASURED = PROJECT / "docs/bench/2026-11-26.sizing.json"
DAY_S, MONTH_DAYS = 86_400, 30
STEPS = (1_000, 1_000_000, 100_000_000)

ANSWERS = 5
"""Answers in a conversation, each of a stored turn (`POST /v1/responses`)."""

PEAK = 3.0
"""The busiest minutes of a day against its mean."""

COLD_SHARE = 0.01
"""Answers that start an environment."""

LARGEST_TENANT = 1.0
"""Share of all requests under one tenant's key; 1 is a stack that has one tenant."""

RETENTION_DAYS = 30
STORED_KB = (table_units.STORED_ANSWER.writes - 3) / 2
"""Of an answer, at most: its transaction's units are doubled kilobytes, rounded up row by row."""

LOG_KB, SENT_KB = 2.5, 6.0
AUTHORIZER_GB_S = 0.25 * 0.020
MEMORY_MIB = 1769


@dataclass(frozen=True)
class Load:
    """One step of the plan with one model."""

    conversations: int
    size: Size

    @property
    def answers(self) -> float:
        """A day."""
        return float(self.conversations * ANSWERS)

    @property
    def peak_per_s(self) -> float:
        """Answers a second when it is busiest."""
        return self.answers / DAY_S * PEAK

    @property
    def concurrency(self) -> float:
        """Little's law: arrivals a second times the seconds that each stays."""
        return self.peak_per_s * self.answer_s

    @property
    def answer_s(self) -> float:
        """Of an answer that may be cold, on average."""
        return (self.size.answer_ms + COLD_SHARE * self.size.start_ms) / 1000

    def used(self, limit: Limit) -> float:
        """Which share of a limit is used at the peak."""
        per_answer = {
            "requests a day": self.answers / self.peak_per_s,
            "requests/s": 1.0,
            "concurrency": self.answer_s,
            "writes/s": table_units.STORED_ANSWER.writes,
            "reads/s": table_units.STORED_ANSWER.reads,
            "one tenant's writes/s": LARGEST_TENANT * table_units.IN_TENANTS_PARTITION,
            "one counter's writes/s": LARGEST_TENANT,
        }
        return self.peak_per_s * per_answer[limit.measure] / limit.value

    @property
    def stored_gb(self) -> float:
        """Once as many days have passed as conversations are kept."""
        return self.answers * RETENTION_DAYS * STORED_KB / 2**20

    @property
    def partitions(self) -> int:
        """The table's, for its traffic or its size, whichever wants more."""
        units = table_units.STORED_ANSWER
        writes, reads = self.peak_per_s * units.writes, self.peak_per_s * units.reads
        return math.ceil(
            max(writes / PARTITION_WRITES + reads / PARTITION_READS, self.stored_gb / PARTITION_GB)
        )


def month_usd(load: Load) -> dict[str, float]:
    """What a month costs, by part."""
    answers = load.answers * MONTH_DAYS
    memory_gb, cold = load.size.memory_mib / 1024, answers * COLD_SHARE
    gb_s = answers * load.size.answer_ms / 1000 * memory_gb
    units = table_units.STORED_ANSWER
    authorizer = answers / ANSWERS * (prices.compute(AUTHORIZER_GB_S) + prices.REQUEST)  # once a conversation
    return {
        "Lambda, duration": prices.tiered(gb_s, prices.GB_S["x86_64"]),
        "Lambda, requests": answers * prices.REQUEST + authorizer,
        "SnapStart": memory_gb * (MONTH_DAYS * DAY_S * prices.SNAPSHOT_GB_S + cold * prices.RESTORED_GB),
        "API Gateway": prices.tiered(answers, prices.GATEWAY_REQUEST),
        "DynamoDB, requests": answers * (units.writes * prices.WRITE_UNIT + units.reads * prices.READ_UNIT),
        "DynamoDB, storage and backup": load.stored_gb * (prices.STORED_GB_MONTH + prices.BACKUP_GB_MONTH),
        "Logs": answers * LOG_KB / 2**20 * prices.LOG_GB,
        "Sent to clients": answers * SENT_KB / 2**20 * prices.SENT_GB,
    }


def models() -> dict[str, Size]:
    """The measured row of each model at the template's own memory size."""
    measured = json.loads(MEASURED.read_text())["bundles"]
    return {
        name: next(row for row in sizes(bundle["rows"]) if row.memory_mib == MEMORY_MIB)
        for name, bundle in measured.items()
    }


def blocks() -> dict[str, list[str]]:
    """The computed parts of the page."""
    heads = [f"{step:,}" for step in STEPS]
    found = {name: [Load(step, size) for step in STEPS] for name, size in models().items()}
    any_model = next(iter(found.values()))
    return {
        "assumptions": _assumptions(),
        "traffic": table(["a day", *heads], _traffic(any_model)),
        "concurrency": table(["at the peak", *heads], _concurrency(found)),
        "limits": table(["used at the peak", "limit", *heads, "moved by"], _limits(any_model, found)),
        "hot": _hot(),
        "first": [_first(load, name) for name, loads in found.items() for load in loads],
        "cost": table(["USD a month", *heads], _cost(any_model, found)),
    }


def _assumptions() -> list[str]:
    rows = [
        ["answers in a conversation, all stored", f"{ANSWERS}"],
        ["an answer", f"{INPUT_TOKENS} tokens in, none cached, {OUTPUT_TOKENS} out"],
        ["peak against the day's mean", f"{PEAK:g}"],
        ["answers that start an environment", f"{COLD_SHARE:.0%}"],
        ["share of the largest tenant", f"{LARGEST_TENANT:.0%}"],
        ["days that a conversation is kept", f"{RETENTION_DAYS}"],
        ["stored of an answer, at most", f"{STORED_KB:g} KB"],
        ["log lines and bytes sent of an answer", f"{LOG_KB:g} KB and {SENT_KB:g} KB"],
        ["memory of the function", f"{MEMORY_MIB:,} MiB"],
    ]
    return table(["assumed", ""], rows)


def _traffic(loads: list[Load]) -> list[list[str]]:
    units = table_units.STORED_ANSWER
    return [
        ["answers a day", *(f"{load.answers:,.0f}" for load in loads)],
        ["answers/s, mean", *(f"{load.answers / DAY_S:,.2f}" for load in loads)],
        ["answers/s, peak", *(f"{load.peak_per_s:,.2f}" for load in loads)],
        ["table writes/s, peak", *(f"{load.peak_per_s * units.writes:,.0f}" for load in loads)],
        ["table reads/s, peak", *(f"{load.peak_per_s * units.reads:,.0f}" for load in loads)],
        ["stored, GB", *(f"{load.stored_gb:,.1f}" for load in loads)],
        ["partitions of the table", *(f"{load.partitions:,}" for load in loads)],
    ]


def _concurrency(found: dict[str, list[Load]]) -> list[list[str]]:
    rows = []
    for name, loads in found.items():
        rows.append(
            [f"{name}, {loads[0].answer_s:.2f} s each", *(f"{load.concurrency:,.1f}" for load in loads)]
        )
        grown = (load.concurrency / ENVIRONMENTS_PER_10_S * 10 for load in loads)
        rows.append([f"{name}, s from nothing to there", *(f"{max(1.0, seconds):,.0f}" for seconds in grown)])
    return rows


def _limits(any_model: list[Load], found: dict[str, list[Load]]) -> list[list[str]]:
    rows = []
    for limit in LIMITS:
        by_model = found if limit.measure == "concurrency" else {"": any_model}
        for name, loads in by_model.items():
            title = f"[{limit.name}]({limit.source})" + (f", {name}" if name else "")
            shares = [_share(load.used(limit)) for load in loads]
            rows.append([title, f"{limit.value:,.0f} {limit.measure}", *shares, limit.raised_by])
    return rows


def _hot() -> list[str]:
    units = table_units.STORED_ANSWER.writes
    mine = table_units.IN_TENANTS_PARTITION
    rows = [
        [
            "under the conversation's and the response's keys",
            f"{units - mine:g}",
            "no bound: keys as many as answers",
        ],
        ["under the tenant's key", f"{mine}", f"{PARTITION_WRITES / mine:,.0f}, until the table splits it"],
        ["the tenant's counter, one row", "1", f"{PARTITION_WRITES:,.0f}"],
    ]
    return table(["where an answer's writes go", "units", "answers/s that one partition takes"], rows)


def _share(used: float) -> str:
    return f"{used:.2%}" if used <= 1 else f"**{used:,.1f} times**"


def _first(load: Load, name: str) -> str:
    """Which limits are passed, the furthest first; or which is nearest."""
    step = f"{load.conversations:,} with {name}"
    ranked = sorted(LIMITS, key=load.used, reverse=True)
    passed = [f"{limit.name} ({load.used(limit):,.1f} times)" for limit in ranked if load.used(limit) > 1]
    if passed:
        return f"- {step}: passed are " + "; ".join(passed) + "."
    return f"- {step}: none is passed; the nearest is {ranked[0].name} ({load.used(ranked[0]):.1%})."


def _cost(any_model: list[Load], found: dict[str, list[Load]]) -> list[list[str]]:
    bills = [month_usd(load) for load in any_model]
    shared = [part for part in bills[0] if part != "Lambda, duration"]
    rows = []
    for name, loads in found.items():
        mine = [month_usd(load) for load in loads]
        rows.append([f"Lambda, duration, {name}", *(f"{bill['Lambda, duration']:,.2f}" for bill in mine)])
    rows += [[part, *(f"{bill[part]:,.2f}" for bill in bills)] for part in shared]
    for name, loads in found.items():
        cells = []
        for load in loads:
            total = sum(month_usd(load).values())
            cells.append(f"**{total:,.2f}** ({1000 * total / load.answers / MONTH_DAYS:.3f})")
        rows.append([f"**together, {name}** (1,000 answers)", *cells])
    return rows


def main() -> int:
    """Fill the page."""
    PAGE.write_text(fill(PAGE.read_text(), blocks()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
