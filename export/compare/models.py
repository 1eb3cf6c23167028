"""The models to compare: bundles as they are, everything else exported, unless an earlier run has done it.

Owns names and folders, and which bundle may be taken again. Does not know what is measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path

from export.errors import ExportError, reason
from export.hub import DESCRIBING
from export.pipeline import Options, export_bundle
from export.quantize import Recipe
from export.rounding.text import default_text
from export.source import Checkpoint, resolve
from export.stages import Stages
from handler.engine import integrity
from handler.engine.bundle import MANIFEST, TOKENIZER_FILE, Manifest, read_manifest
from handler.errors import BundleError, DormouseError


def names_of(sources: Sequence[str]) -> dict[str, str]:
    """The sources, each by a name of its own: the same in every run, whatever becomes of the others.

    Raises: ExportError when one is given twice.
    """
    if len(sources) != len(set(sources)):
        twice = next(source for source in sources if sources.count(source) > 1)
        raise ExportError(f"{twice}: given twice; a comparison is of different models")
    named: dict[str, str] = {}
    for source in sources:
        named[_free_name(source, named)] = source
    return named


def bundle_of(source: str, name: str, recipe: Options, made: Path, stages: Stages) -> Path:
    """A source's bundle; one that is made here, by `recipe`, is `made / name`.

    Raises: ExportError when the source is none; BundleError.
    """
    if (Path(source) / MANIFEST).is_file():
        read_manifest(Path(source))
        return Path(source)
    options = dataclasses.replace(recipe, source=source, out=made / name, name=name)
    try:
        if is_made(options):
            stages.note(f"{options.out}: made before, taken as it is")
        else:
            export_bundle(options, stages.anew())  # its report tells its own time
    except (DormouseError, OSError) as error:
        raise ExportError(f"cannot be exported: {reason(error)}") from error
    return options.out


def is_made(options: Options) -> bool:
    """Whether `options.out` is what an export would make of the source as it is now."""
    out = options.out
    if not (out / MANIFEST).is_file():
        return False
    try:
        manifest = read_manifest(out)
        integrity.verify(out, manifest.files, manifest.files)
    except BundleError:
        return False
    if "accepted" in manifest.fidelity and options.accept is None:
        return False
    checkpoint = resolve(options.source, options.revision, options.adapter)
    is_of_source = (manifest.source.id, manifest.source.revision) == (checkpoint.id, checkpoint.revision)
    return is_of_source and _is_by_recipe(manifest, checkpoint, options) and not _is_older(out, checkpoint)


def _is_older(bundle: Path, checkpoint: Checkpoint) -> bool:
    """Whether a local folder's small files changed since the export began: its revision is of weights alone.

    A file's status, unlike its content, has a time that neither `mv` nor `cp -p` brings along.
    """
    if "sha256:" not in checkpoint.revision:
        return False
    folders = [checkpoint.folder, *([checkpoint.adapter.folder] if checkpoint.adapter else [])]
    files = (file for folder in folders for pattern in DESCRIBING for file in folder.glob(pattern))
    begun = (bundle / TOKENIZER_FILE).stat().st_mtime_ns  # the first that an export writes
    return any(file.stat().st_ctime_ns > begun for file in files)


def _is_by_recipe(manifest: Manifest, checkpoint: Checkpoint, options: Options) -> bool:
    """Whether the weights are stored as asked, in the way that the source was converted."""
    asked = Recipe.named(options.quant, options.block, options.rounding, symmetric=not options.asymmetric)
    found = manifest.quantization
    if not asked.quantized:
        return found.recipe == asked.name
    rounding = asked.rounding if manifest.source.way == "fused" else "nearest"
    text = default_text(checkpoint.folder).fingerprint if rounding == "gptq" else None
    wanted = asked.name, asked.block, asked.symmetric, rounding, text
    return wanted == (found.recipe, found.block, found.symmetric, found.rounding, found.calibration)


def _free_name(source: str, taken: Collection[str]) -> str:
    """The last part of a source that says something, with a number where another one has it."""
    parts = [part for part in Path(source).expanduser().resolve().parts if part not in ("/", "")]
    name = parts[-1]
    if name in ("bundle", "checkpoint") and len(parts) > 1:  # models/house/bundle
        name = f"{parts[-2]}-{name}"
    number, free = 2, name
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    return free
