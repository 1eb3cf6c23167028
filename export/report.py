"""What an export found, for people and for CI: `report/report.{html,md,json}` and the model card.

Owns which sections there are, in which order, and the JSON's keys (docs/report/README.md documents them).
Measures nothing, and does not know how a section looks.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from export.card import card
from export.errors import about
from export.findings import checks, fidelity
from export.markdown import document
from export.page import page
from export.section import Section, Table
from export.verdict import Verdict
from export.wording import in_full
from handler.engine.bundle import CARD_FILE, MANIFEST, Manifest
from handler.engine.ort import usable_cores

FORMAT = 1
REPORT = "report"  # the folder, and the files' stem in it
KINDS = ("html", "md", "json")
SIGNIFICANT = 6  # digits of what was measured


def write_report(
    folder: Path,
    manifest: Manifest,
    verdict: Verdict,
    seconds: Mapping[str, float],
    source_bytes: int,
    transcripts: list[dict[str, Any]],
    sections: Sequence[Section] = (),
    uses: Sequence[tuple[str, str]] = (),
) -> None:
    """Write the report and the card into the bundle; `sections` come after the gate's own.

    `uses` are for the card: what the source's says of the model's uses and limits. Sizes are without the
    manifest's, whose length is that of the digits measured.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in files if path.name != MANIFEST}
    model = _model(manifest, sizes, source_bytes)
    said = [model, checks(verdict), *fidelity(verdict), *sections, _answers(transcripts), _time(seconds)]
    facts = {
        "format": FORMAT,
        "name": manifest.name,
        **model.facts,
        "passed": not verdict.failed,
        "accepted": verdict.accepted,
        "exact": verdict.exact,
        "instruction_set": manifest.instruction_set,
        "sections": {each.key: each.facts for each in said[1:] if each.facts},
        "run": {
            "created": manifest.created,
            "cores": usable_cores(),
            "tools": dict(manifest.tools),
            "stage_s": {name: round(value, 3) for name, value in seconds.items()},
        },
    }
    title = f"Export of {manifest.name}"
    report = folder / REPORT
    report.mkdir(exist_ok=True)
    content = json.dumps(_rounded(facts), indent=1, ensure_ascii=False, allow_nan=False)
    (report / f"{REPORT}.json").write_text(content + "\n", encoding="utf-8")
    (report / f"{REPORT}.md").write_text(document(title, said), encoding="utf-8")
    (report / f"{REPORT}.html").write_text(page(title, said), encoding="utf-8")
    written = card(manifest, verdict, sum(sizes.values()), sections, uses)
    (folder / CARD_FILE).write_text(written, encoding="utf-8")


def copy_report(folder: Path, stem: Path) -> None:
    """Put a bundle's report also at `stem`.html, .md and .json."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        copy = stem.parent / f"{stem.name}.{kind}"
        with about(copy):
            shutil.copyfile(folder / REPORT / f"{REPORT}.{kind}", copy)


def _model(manifest: Manifest, sizes: Mapping[str, int], source_bytes: int) -> Section:
    source, total = manifest.source, sum(sizes.values())
    rows = (
        ("source", f"{source.id} at {source.revision}"),
        ("licence", source.license),
        ("weights", in_full(manifest.quantization)),
        ("parameters", f"{manifest.dims.parameters:,}"),
        ("context", f"{manifest.context_tokens:,} tokens"),
        ("checkpoint", f"{source_bytes / 1e6:.1f} MB"),
        ("bundle", f"{total / 1e6:.1f} MB"),
        ("measured on", manifest.instruction_set or "an instruction set that was not recorded"),
    )
    facts = {
        "source": dataclasses.asdict(source),
        "quantization": dataclasses.asdict(manifest.quantization),
        "parameters": manifest.dims.parameters,
        "context_tokens": manifest.context_tokens,
        "source_bytes": source_bytes,
        "bundle_bytes": total,
        "file_bytes": dict(sizes),
    }
    return Section("The model", "model", tables=(Table(("", ""), rows),), facts=facts)


def _answers(transcripts: Sequence[Mapping[str, Any]]) -> Section:
    rows = tuple((str(each["question"]), str(each["text"])) for each in transcripts)
    text = ("Greedy, cut after a few tokens; whoever loads the bundle can replay them (golden.json).",)
    return Section("Golden answers", "answers", text, (Table(("question", "answer"), rows),))


def _time(seconds: Mapping[str, float]) -> Section:
    rows = tuple((name, f"{value:.1f}") for name, value in seconds.items())
    return Section("Time", "time", tables=(Table(("stage", "seconds"), rows),))


def _rounded(value: Any) -> Any:
    """The same with every float to six digits: sums in another order differ behind them."""
    if isinstance(value, float):
        return float(f"{value:.{SIGNIFICANT}g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
