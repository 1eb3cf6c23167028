"""The models to compare: bundles as they are, everything else exported first.

Owns names and folders. Does not know what is measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from export.errors import ExportError
from export.pipeline import Options, export_bundle
from export.stages import Stages
from handler.engine.bundle import MANIFEST


def bundles(sources: Sequence[str], recipe: Options, made: Path, stages: Stages) -> dict[str, Path]:
    """Every source's bundle by a name of its own; those made here are under `made`, by `recipe`.

    Raises: ExportError naming the source that is none.
    """
    if len(sources) != len(set(sources)):
        twice = next(source for source in sources if sources.count(source) > 1)
        raise ExportError(f"{twice}: given twice; a comparison is of different models")
    found: dict[str, Path] = {}
    for source in sources:
        name = _free_name(source, found)
        if (Path(source) / MANIFEST).is_file():
            found[name] = Path(source)
            continue
        out = made / name
        try:
            export_bundle(dataclasses.replace(recipe, source=source, out=out, name=name), stages)
        except ExportError as error:
            raise ExportError(f"{source}: cannot be exported: {error}") from None
        found[name] = out
    return found


def _free_name(source: str, taken: dict[str, Path]) -> str:
    """The last part of a source that says something, with a number where another one has it."""
    parts = [part for part in Path(source).expanduser().resolve().parts if part not in ("/", "")]
    name = parts[-1]
    if name in ("bundle", "checkpoint") and len(parts) > 1:  # models/house/bundle
        name = f"{parts[-2]}-{name}"
    number, free = 2, name
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    return free
