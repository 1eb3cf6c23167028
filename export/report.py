"""What an export found, for people and for CI: `report/report.json`, `report/report.md` and the model card.

Owns the wording. Does not measure anything.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from export.judge import Verdict
from export.markdown import section_lines
from export.section import Section
from handler.engine.bundle import Manifest

CARD_FILE = "MODEL_CARD.md"


def write_report(
    folder: Path,
    manifest: Manifest,
    verdict: Verdict,
    seconds: Mapping[str, float],
    source_bytes: int,
    transcripts: list[dict[str, Any]],
    sections: Sequence[Section] = (),
) -> None:
    """Write the report and the card into the bundle; `sections` are others' findings."""
    sizes = {str(p.relative_to(folder)): p.stat().st_size for p in sorted(folder.rglob("*")) if p.is_file()}
    facts = {
        "name": manifest.name,
        "source": dataclasses.asdict(manifest.source),
        "quantization": dataclasses.asdict(manifest.quantization),
        "parameters": manifest.dims.parameters,
        "source_bytes": source_bytes,
        "bundle_bytes": sum(sizes.values()),
        "file_bytes": sizes,
        "stage_s": {name: round(value, 3) for name, value in seconds.items()},
        "instruction_set": manifest.instruction_set,
        "exact": verdict.exact,
        "fidelity": dataclasses.asdict(verdict.fidelity),
        "checks": [dataclasses.asdict(check) for check in verdict.checks],
        **{section.key: section.facts for section in sections},
    }
    report = folder / "report"
    report.mkdir(exist_ok=True)
    (report / "report.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    lines = [_markdown(manifest, verdict, facts, transcripts)]
    lines += [line for section in sections for line in section_lines(section)]
    (report / "report.md").write_text("\n".join(lines), encoding="utf-8")
    (folder / CARD_FILE).write_text(_card(manifest, verdict, facts), encoding="utf-8")


def _markdown(
    manifest: Manifest, verdict: Verdict, facts: Mapping[str, Any], transcripts: list[dict[str, Any]]
) -> str:
    measured = verdict.fidelity
    rows = [
        ("KL divergence to the unquantized model, mean", f"{measured.kl_mean:.3g} nats"),
        ("the same, 99th percentile and worst", f"{measured.kl_p99:.3g}, {measured.kl_max:.3g}"),
        ("top-1 agreement", f"{measured.top1_agreement:.1%}"),
        ("perplexity, unquantized", f"{measured.perplexity_unquantized:.4g}"),
        ("perplexity, this bundle", f"{measured.perplexity:.4g}"),
        ("checkpoint", f"{facts['source_bytes'] / 1e6:.1f} MB"),
        ("bundle", f"{facts['bundle_bytes'] / 1e6:.1f} MB"),
    ]
    lines = [f"# Export of {manifest.name}", "", _measured_on(manifest, verdict), ""]
    lines += _table(("measure", "value"), rows)
    lines += ["", "## Checks", ""]
    checks = [
        (
            check.name,
            "yes" if check.passed else "no",
            f"{check.measured:.3g}",
            f"{check.limit:.3g}",
            check.detail,
        )
        for check in verdict.checks
    ]
    lines += _table(("check", "passed", "measured", "limit", "what"), checks)
    lines += ["", "## Golden answers", ""]
    for transcript in transcripts:
        lines += [f"- {transcript['question']!r}: {transcript['text']!r}"]
    lines += ["", "## Time", ""]
    lines += _table(
        ("stage", "seconds"), [(name, f"{value:.1f}") for name, value in facts["stage_s"].items()]
    )
    return "\n".join(lines) + "\n"


def _measured_on(manifest: Manifest, verdict: Verdict) -> str:
    kernels = manifest.instruction_set or "an instruction set that was not recorded"
    return f"Measured on {verdict.fidelity.tokens} tokens, on {kernels}."


def _card(manifest: Manifest, verdict: Verdict, facts: Mapping[str, Any]) -> str:
    source, quantization, dims = manifest.source, manifest.quantization, manifest.dims
    block = (
        f", block {quantization.block}, head block {quantization.head_block}" if quantization.block else ""
    )
    gptq = quantization.rounding == "gptq"
    rounding = ", rounded by GPTQ" if gptq else ", rounded to the nearest"
    if quantization.calibration:
        rounding += f" with {quantization.calibration}"
    exact = (
        "bit-identical however a prompt is cut and whatever is cached or guessed, on one instruction set"
        if verdict.exact
        else "inexact: the last bits depend on how a prompt is cut, and no tokens are guessed ahead"
    )
    rows = [
        ("source", f"{source.id} at {source.revision}"),
        ("licence", source.license),
        ("architecture", f"{source.architecture}, {source.way} graph"),
        ("parameters", f"{dims.parameters:,}"),
        ("layers, heads, kv heads", f"{dims.layers}, {dims.heads}, {dims.kv_heads}"),
        ("vocabulary, context", f"{dims.vocabulary:,}, {manifest.context_tokens:,} tokens"),
        ("weights", f"{quantization.recipe}{block}{rounding if quantization.block else ''}"),
        ("results", exact),
        ("measured on", manifest.instruction_set or "not recorded"),
        ("bundle size", f"{facts['bundle_bytes'] / 1e6:.1f} MB"),
        ("made", f"{manifest.created} with " + ", ".join(f"{k} {v}" for k, v in manifest.tools.items())),
    ]
    lines = ["---", f"license: {source.license}", "---", f"# {manifest.name}", ""]
    lines += [
        "An ONNX conversion for Dormouse; what the model was made for and may not be used for is said by",
        "",
    ]
    lines[-1:] = ["its source's own card. How close the conversion is to the source: `report/report.md`.", ""]
    return "\n".join(lines + _table(("", ""), rows)) + "\n"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    rule = "|" + "---|" * len(head)
    return [_row(head), rule, *map(_row, rows)]


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
