"""The model card of a bundle.

Owns its wording. Does not measure anything.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from export.markdown import section_lines, table
from export.section import Section
from export.verdict import Verdict
from export.wording import in_full
from handler.engine.bundle import Manifest


def card(
    manifest: Manifest,
    verdict: Verdict,
    bundle_bytes: int,
    sections: Sequence[Section] = (),
    uses: Sequence[tuple[str, str]] = (),
) -> str:
    """The whole card as Markdown, with the front matter that the hub reads; of `sections` the words.

    `uses` are headings and texts of the source's own card.
    """
    source, dims = manifest.source, manifest.dims
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
        ("weights", in_full(manifest.quantization)),
        ("results", exact),
        ("measured on", manifest.instruction_set or "not recorded"),
        *_accepted(verdict),
        ("bundle size", f"{bundle_bytes / 1e6:.1f} MB"),
        ("made", f"{manifest.created} with " + ", ".join(f"{k} {v}" for k, v in manifest.tools.items())),
    ]
    lines = ["---", f"license: {source.license}", "---", f"# {manifest.name}", ""]
    lines += [
        "An ONNX conversion for Dormouse; what the model was made for and may not be used for is said by",
        "its source's own card. How close the conversion is to the source: `report/report.md`.",
        "",
    ]
    for heading, text in uses:
        lines += [f"## {heading}", "", text, ""]
    lines += ["## The bundle", ""] if uses else []
    lines += table(("", ""), rows)
    for section in sections:
        lines += ["", *section_lines(dataclasses.replace(section, tables=(), charts=()))]
    return "\n".join(lines) + "\n"


def _accepted(verdict: Verdict) -> list[tuple[str, str]]:
    if verdict.accepted is None:
        return []
    failed = ", ".join(check.name for check in verdict.failed)
    return [("failed checks", f"{failed}; accepted: {verdict.accepted}")]
