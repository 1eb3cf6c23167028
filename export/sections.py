"""What a report says beside the verdict: precision, quality, the frontier, what the probes found.

Owns their order and which are asked for. Does not know what any of them says.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from export.conversion import Converted
from export.frontier import Export, sweep
from export.probes.probe import probe
from export.quality import Dialogue, quality
from export.section import Section
from export.stages import Stages
from export.verdict import Verdict
from handler.engine import load

if TYPE_CHECKING:
    from export.pipeline import Options


def sections_of(
    options: Options,
    converted: Converted,
    verdict: Verdict,
    dialogues: Sequence[Dialogue],
    folder: Path,
    export: Export,
    stages: Stages,
) -> list[Section]:
    """The sections on the bundle in `folder`, whose manifest may still be a draft; `export` makes others."""
    sections = [converted.precision(verdict.fidelity)] if converted.precision else []
    if dialogues:
        with stages.stage("quality", f"{len(dialogues)} dialogues", total=len(dialogues)) as done:
            sections.append(quality(load(folder), dialogues, done))
    if options.frontier:
        sections.append(sweep(options, folder, verdict, export, stages))
    if options.probes:
        sections += probe(folder, converted, stages)
    return sections
