"""One model's line of a comparison, and all lines as a table, Markdown and JSON.

Owns the columns and their wording. Does not measure anything.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from export.compare.lambda_fit import ANSWER_BYTES, PROMPT_BYTES, Fit
from export.compare.prediction import Quality
from export.section import Section, Table
from export.speed import Speed
from handler.engine.bundle import Manifest


@dataclass(frozen=True)
class Result:
    """What is known of one model."""

    name: str
    source: str
    licence: str
    parameters: int
    context_tokens: int
    recipe: str
    bundle_bytes: int
    kl: float | None  # of the bundle to its source; None where the manifest does not say
    top1_agreement: float | None
    accepted: str | None  # why it is a bundle although checks failed
    quality: Quality
    speed: Speed
    fit: Fit


def result(name: str, manifest: Manifest, recipe: str, quality: Quality, speed: Speed, fit: Fit) -> Result:
    """A line from what was measured and what the manifest says."""
    return Result(
        name=name,
        source=manifest.source.id,
        licence=manifest.source.license,
        parameters=manifest.dims.parameters,
        context_tokens=manifest.context_tokens,
        recipe=recipe,
        bundle_bytes=sum(entry.size_bytes for entry in manifest.files.values()),
        kl=manifest.fidelity.get("kl_mean"),
        top1_agreement=manifest.fidelity.get("top1_agreement"),
        accepted=manifest.fidelity.get("accepted", {}).get("reason"),
        quality=quality,
        speed=speed,
        fit=fit,
    )


def section(results: Sequence[Result], machine: str, left_out: Mapping[str, str]) -> Section:
    """All results; a column for each model, a row for each measure. `left_out` says of other sources why."""
    words = (
        f"Measured on {machine}: every model in a process of its own, in turns. Perplexity and cost are by "
        "the byte of text, so that tokenizers compare; a model reads it in windows of its own context.",
        f"An answer is a prompt of {PROMPT_BYTES:,} bytes and a text of {ANSWER_BYTES}, in a process that is "
        "warm; its cost is that of Lambda's time at us-east-1's list price, if a processor there were as "
        "fast as here.",
        *(f"Left out: {source}: {reason}" for source, reason in left_out.items()),
    )
    rows = tuple((label, *(write(each) for each in results)) for label, write in ROWS)
    head = ("", *(each.name for each in results))
    facts = {
        "machine": machine,
        "models": [as_facts(each) for each in results],
        "left_out": dict(left_out),
    }
    return Section("Comparison", "comparison", words, (Table(head, rows),), (), facts)


def as_facts(each: Result) -> dict[str, Any]:
    """The same for programs."""
    facts = dataclasses.asdict(each)
    facts["quality"]["perplexity_per_byte"] = each.quality.perplexity_per_byte
    return facts


def text_lines(table: Table) -> list[str]:
    """A table for a terminal: columns as wide as their cells."""
    lines = [table.head, *table.rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(table.head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def _packaging(each: Result) -> str:
    return ", ".join(name for name, fits in each.fit.packaging.items() if fits) or "none"


def _or_dash(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


ROWS = (
    ("source", lambda each: each.source),
    ("licence", lambda each: each.licence),
    ("parameters, million", lambda each: f"{each.parameters / 1e6:,.1f}"),
    ("context, tokens", lambda each: f"{each.context_tokens:,}"),
    ("weights", lambda each: each.recipe),
    ("bundle, MB", lambda each: f"{each.bundle_bytes / 1e6:.1f}"),
    ("memory at the peak, MB", lambda each: f"{each.speed.peak_bytes / 1e6:.0f}"),
    ("start to ready, s", lambda each: f"{each.speed.load_s:.2f}"),
    ("prefill, tokens/s", lambda each: f"{each.speed.prefill_tokens_per_s:,.0f}"),
    ("decode, tokens/s", lambda each: f"{each.speed.decode_tokens_per_s:,.0f}"),
    ("KL to the source, nats", lambda each: _or_dash(each.kl, ".3g")),
    ("top-1 agreement with the source", lambda each: _or_dash(each.top1_agreement, ".1%")),
    ("checks", lambda each: "passed" if each.accepted is None else f"failed, accepted: {each.accepted}"),
    ("bits per byte", lambda each: f"{each.quality.bits_per_byte:.3f}"),
    ("perplexity per byte", lambda each: f"{each.quality.perplexity_per_byte:.3f}"),
    ("bytes per token", lambda each: f"{each.quality.bytes_per_token:.2f}"),
    ("Lambda memory, MiB", lambda each: f"{each.fit.memory_mib:,}"),
    ("cost of 1,000 answers, USD", lambda each: f"{each.fit.usd_per_1000:.3f}"),
    ("fits", _packaging),
)
