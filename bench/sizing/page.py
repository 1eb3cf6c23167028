"""The computed parts of docs/sizing.md, from measured rows. The words stand in the page."""

from __future__ import annotations

from typing import Any

from bench.pages import table
from bench.sizing.figures import Size, hosted_usd, sizes
from bench.sizing.share import vcpus
from infra import prices

HEADS = (
    "memory, MiB",
    "vCPU",
    "",
    "threads",
    "prefill, tokens/s",
    "decode, tokens/s",
    "first token, ms",
    "answer, ms",
    "cold start, ms",
    "1,000 warm answers",
    "1,000 cold ones",
    "1 million tokens out",
)


def blocks(results: dict[str, Any]) -> dict[str, list[str]]:
    """The lines of each block of the page."""
    machine, bundles = results["machine"], results["bundles"]
    return {
        "machine": [
            f"{results['date']}, {machine['cpu']} ({machine['family']}), {machine['cores']} cores, "
            f"{machine['kernels']}, {machine['memory_gib']} GiB, commit {machine['commit']}."
        ],
        "sizes": [line for name, bundle in bundles.items() for line in _bundle(name, bundle)],
        "hosted": _hosted(bundles, results["date"]),
    }


def _bundle(name: str, bundle: dict[str, Any]) -> list[str]:
    rows = sizes(bundle["rows"])
    cheapest = min((row.warm_usd for row in rows if row.fits), default=0.0)
    title = f"### {name}: {bundle['parameters'] / 1e6:,.1f} million parameters, {bundle['bits']} bits"
    peak = max(row.peak_mib for row in rows)
    facts = f"{bundle['size_mib']:,.0f} MiB on disk, {peak:,.0f} MiB of memory at the peak."
    return [title, "", facts, "", *table(HEADS, [_cells(row, row.warm_usd == cheapest) for row in rows]), ""]


def _cells(row: Size, cheapest: bool) -> list[str]:
    cost = f"${row.warm_usd * 1000:.4f}"
    return [
        f"{row.memory_mib:,}" + ("" if row.fits else " (too small)"),
        f"{vcpus(row.memory_mib):.2f}",
        "measured" if row.measured else "computed",
        "all" if row.threads == 0 else str(row.threads),
        f"{row.prefill_tokens_per_s:,.0f}",
        f"{row.decode_tokens_per_s:,.0f}",
        f"{row.first_token_ms:,.0f}",
        f"{row.answer_ms:,.0f}",
        f"{row.start_ms:,.0f}",
        f"**{cost}**" if cheapest else cost,
        f"${row.cold_usd * 1000:.4f}",
        f"${row.million_tokens_usd:.3f}",
    ]


def _hosted(bundles: dict[str, Any], date: str) -> list[str]:
    rows = [
        [
            f"[{model.name}]({model.source})",
            f"${model.input_usd:g} in, ${model.output_usd:g} out",
            f"${hosted_usd(model) * 1000:.4f}",
            model.as_of,
        ]
        for model in prices.HOSTED
    ]
    cheapest = min(map(hosted_usd, prices.HOSTED))
    for name, bundle in bundles.items():
        measured = (row for row in sizes(bundle["rows"]) if row.measured and row.fits)
        best = min(measured, key=lambda row: row.warm_usd)
        times = f"{best.warm_usd / cheapest:.2f} times the cheapest"
        name = f"Dormouse, {name}, {best.memory_mib:,} MiB, warm"
        rows.append([name, times, f"${best.warm_usd * 1000:.4f}", date])
    return table(["", "1 million tokens", "1,000 answers", "as of"], rows)
