"""The facts of a day, added up. Knows neither where lines come from nor how a table looks.

Money is an estimate at the prices of `infra/prices.py`: free tiers, discounts and what is billed by the month
(storage, snapshots, the firewall) are not in the logs.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from infra import prices, table_units
from infra.report.lines import (
    Access,
    Answered,
    Fact,
    Invocation,
    Malformed,
    Metrics,
    Refused,
    Trouble,
    read_line,
)

QUANTILES = (50, 95, 99)
CONFLICTS = (409, 412)
MACHINES = {"x86_64": "x86_64", "aarch64": "arm64"}
"""A machine as an answer's instruction set begins with it -> what Lambda calls it."""


@dataclass
class Day:
    """Everything that was told; `figures` makes numbers of it."""

    answers: list[Answered] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    trouble: list[Trouble] = field(default_factory=list)
    invocations: list[Invocation] = field(default_factory=list)
    access: list[Access] = field(default_factory=list)
    metric_answers: float = 0.0
    lines: int = 0
    malformed: int = 0
    log_bytes: int = 0

    def read(self, lines: Iterable[str]) -> Day:
        """Add lines."""
        for text in lines:
            self.lines += 1
            self.log_bytes += len(text.encode("utf-8", "replace")) + prices.LOG_EVENT_BYTES
            try:
                self._add(read_line(text))
            except Malformed:
                self.malformed += 1
        return self

    def _add(self, fact: Fact | None) -> None:
        match fact:
            case Answered():
                self.answers.append(fact)
            case Refused():
                self.refused.append(fact)
            case Invocation():
                self.invocations.append(fact)
            case Access():
                self.access.append(fact)
            case Trouble():
                self.trouble.append(fact)
            case Metrics():
                self.metric_answers += fact.answers

    @property
    def architecture(self) -> str:
        """Where most answers were made; x86_64 where none says."""
        machines = Counter(
            each.instruction_set.split(" ")[0] for each in self.answers if each.instruction_set
        )
        return MACHINES.get(next((name for name, _ in machines.most_common(1)), ""), "x86_64")

    def by_tenant(self) -> dict[str, Day]:
        """One day for each tenant: whose a request was stands in API Gateway's lines alone."""
        whose = {line.request: line.tenant or "(nobody)" for line in self.access}
        days: dict[str, Day] = defaultdict(Day)
        for kind in ("answers", "refused", "trouble", "access"):
            for fact in getattr(self, kind):
                getattr(days[whose.get(fact.request, "(unknown)")], kind).append(fact)
        return dict(sorted(days.items()))


def quantiles(values: Sequence[float]) -> dict[str, float] | None:
    """The smallest values that so many per cent do not exceed; None of none."""
    ordered = sorted(values)
    if not ordered:
        return None
    return {f"p{q}": round(ordered[math.ceil(q / 100 * len(ordered)) - 1], 3) for q in QUANTILES}


def figures(day: Day, architecture: str | None = None) -> dict[str, object]:
    """All numbers of a day, at the prices of an architecture or of its own; the units are in the names."""
    answers = day.answers
    architecture = architecture or day.architecture
    errors = Counter(f"{each.status} {each.code}" for each in day.refused)
    errors.update(f"{each.status} by {whose}" for each, whose in _not_refused(day))
    trouble = Counter(each.kind for each in day.trouble)
    return {
        "requests": len(day.access) or len(day.invocations) or len(answers) + len(day.refused),
        "answers": len(answers),
        "stop_reasons": dict(Counter(each.stop_reason for each in answers).most_common()),
        "tokens": {
            "input": sum(each.prompt_tokens for each in answers),
            "cached": sum(each.cached_tokens for each in answers),
            "output": sum(each.output_tokens for each in answers),
        },
        "time_to_first_token_ms": quantiles([each.prefill_ms for each in answers if each.output_tokens]),
        "decode_tokens_per_s": quantiles(
            [
                (each.output_tokens - 1) / each.decode_ms * 1000
                for each in answers
                if each.output_tokens > 1 and each.decode_ms > 0
            ]
        ),
        "cold_starts": _starts(day),
        "errors": dict(errors.most_common()),
        "conflicts": sum(each.status in CONFLICTS for each in day.refused),
        "deadline_cuts": sum(each.stop_reason == "deadline" for each in answers),
        "quota_refusals": sum(each.code == "quota_exceeded" for each in day.refused),
        "bugs": trouble["bug"],
        "uncounted": trouble["uncounted"],
        "failed_invocations": sum(each.failed for each in day.invocations),
        "peak_memory_mib": max((each.peak_mib for each in day.invocations), default=None),
        "architecture": architecture,
        "bill": bill(day, architecture),
        "lines": {"read": day.lines, "malformed": day.malformed, "metric_answers": round(day.metric_answers)},
    }


def bill(day: Day, architecture: str) -> dict[str, float | None]:
    """GB-seconds, and US dollars by part; None is what these logs do not tell, and no part of the total."""
    gb_s = sum(each.billed_ms / 1000 * each.memory_mib / 1024 for each in day.invocations)
    restored = sum(each.memory_mib / 1024 for each in day.invocations if each.restore_ms is not None)
    stored = _stored_answers(day)
    units = table_units.of_answers(stored, len(day.answers) - stored)
    parts: dict[str, float | None] = {
        "compute_usd": prices.compute(gb_s, architecture),
        "requests_usd": len(day.invocations) * prices.REQUEST,
        "restores_usd": restored * prices.RESTORED_GB,
        "gateway_usd": len(day.access) * prices.GATEWAY_REQUEST[0][1] if day.access else None,
        "table_estimate_usd": units.writes * prices.WRITE_UNIT + units.reads * prices.READ_UNIT,
        "logs_usd": day.log_bytes / 2**30 * prices.LOG_GB,
    }
    parts["total_usd"] = sum(usd for usd in parts.values() if usd is not None)
    rounded = {name: None if usd is None else round(usd, 12) for name, usd in parts.items()}
    return {"gb_s": round(gb_s, 6), **rounded}


def _stored_answers(day: Day) -> int:
    """Answers that were kept; all of them where no access lines tell the route."""
    if not day.access:
        return len(day.answers)
    routes = {line.request: (line.method, line.route) for line in day.access}
    return sum(
        method == "POST" and route in table_units.STORED_ROUTES
        for method, route in (routes.get(each.request, ("", "")) for each in day.answers)
    )


def _starts(day: Day) -> dict[str, object]:
    """From Lambda's reports; where there are none, from the answers that were the first of their process."""
    inits = [each.init_ms for each in day.invocations if each.init_ms is not None]
    restores = [each.restore_ms for each in day.invocations if each.restore_ms is not None]
    if not day.invocations:
        inits = [each.init_ms for each in day.answers if each.cold]
    return {
        "inits": len(inits),
        "init_ms": quantiles(inits),
        "restores": len(restores),
        "restore_ms": quantiles(restores),
    }


def _not_refused(day: Day) -> list[tuple[Access, str]]:
    """Errors that the function refused nobody with, and whose they are: a bug's, which its log names, or API
    Gateway's own, for a missing key, a throttle, its quota or time-out.
    """
    refused = {each.request for each in day.refused}
    bugs = {each.request for each in day.trouble if each.kind == "bug"}
    failed = [line for line in day.access if line.status >= 400 and line.request not in refused]
    return [(line, "a bug" if line.request in bugs else "the gateway") for line in failed]
