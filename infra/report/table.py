"""A day's figures as one table of text. Knows no logs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infra import prices

Row = tuple[str, str]
UNTOLD = "not in these logs"
COUNTS = {
    "conflicts": "Conflicts",
    "deadline_cuts": "Cut by a deadline",
    "quota_refusals": "Refused by quota",
    "bugs": "Bugs",
    "uncounted": "Answers without a count",
    "failed_invocations": "Failed invocations",
}
PARTS = {
    "compute_usd": "Compute",
    "requests_usd": "Lambda requests",
    "restores_usd": "Snapshot restores",
    "gateway_usd": "API Gateway requests",
    "table_estimate_usd": "Table (estimate)",
    "logs_usd": "Log lines",
    "total_usd": "Together",
}


def render(figures: Mapping[str, Any], tenants: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """The report, names on the left and numbers with their units on the right."""
    rows = list(_rows(figures))
    width = max(len(name) for name, _ in rows)
    text = [f"{name:<{width}}  {value}".rstrip() for name, value in rows]
    if tenants is not None:
        text += ["", *_tenants(tenants)]
    return "\n".join(text)


def _rows(figures: Mapping[str, Any]) -> Iterator[Row]:
    tokens, starts, bill = figures["tokens"], figures["cold_starts"], figures["bill"]
    yield "Requests", f"{figures['requests']:,}"
    yield "Answers", f"{figures['answers']:,}"
    yield from ((f"  ended by {reason}", f"{count:,}") for reason, count in figures["stop_reasons"].items())
    yield "Tokens in", f"{tokens['input']:,}, of which cached {tokens['cached']:,}"
    yield "Tokens out", f"{tokens['output']:,}"
    yield "Time to first token", _spread(figures["time_to_first_token_ms"], "ms")
    yield "Decoding", _spread(figures["decode_tokens_per_s"], "tokens/s")
    yield "Cold starts", f"{starts['inits']:,} by init, {_spread(starts['init_ms'], 'ms')}"
    yield "", f"{starts['restores']:,} from a snapshot, {_spread(starts['restore_ms'], 'ms')}"
    yield "Peak memory", f"{figures['peak_memory_mib']:,} MiB" if figures["peak_memory_mib"] else UNTOLD
    yield "Errors", f"{sum(figures['errors'].values()):,}"
    yield from ((f"  {code}", f"{count:,}") for code, count in figures["errors"].items())
    yield from ((title, f"{figures[name]:,}") for name, title in COUNTS.items())
    yield "Billed", f"{bill['gb_s']:,.3f} GB-s"
    yield from ((f"  {title}", _usd(bill[name])) for name, title in PARTS.items())
    if bill["gateway_usd"] is None:
        yield "", "without the access log every answer counts as one that the table keeps"
    yield "Prices", f"us-east-1, {figures['architecture']}, {prices.AS_OF}, no free tier"
    yield "", "storage, snapshots and the authorizer (its log is another) are not in it"
    lines = figures["lines"]
    yield "Lines read", f"{lines['read']:,}, malformed {lines['malformed']:,}"
    if lines["metric_answers"] and lines["metric_answers"] != figures["answers"]:
        yield "Note", f"the metrics count {lines['metric_answers']:,} answers: lines are missing"


def _tenants(tenants: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    width = max([len("Tenant"), *map(len, tenants)])
    heads = f"{'requests':>10} {'answers':>10} {'tokens in':>12} {'tokens out':>12} {'errors':>8}"
    yield f"{'Tenant':<{width}} {heads}"
    for name, each in tenants.items():
        tokens = each["tokens"]
        yield (
            f"{name:<{width}} {each['requests']:>10,} {each['answers']:>10,} {tokens['input']:>12,} "
            f"{tokens['output']:>12,} {sum(each['errors'].values()):>8,}"
        )


def _usd(found: float | None) -> str:
    return UNTOLD if found is None else f"${found:.6f}"


def _spread(found: Mapping[str, float] | None, unit: str) -> str:
    if found is None:
        return "none"
    return ", ".join(f"{name} {value:,.1f}" for name, value in found.items()) + f" {unit}"
