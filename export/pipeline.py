"""An export from source to bundle: the steps in the order they happen.

Owns the order, by which nothing that is a bundle to others is there before the verdict on it. Does not know
how any step is done.
"""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from export import fused, universal
from export.conversion import Converted
from export.errors import ExportError, UnknownArchitecture, UnsupportedFeature
from export.golden import write_golden
from export.graph import FAMILIES, family_of
from export.graph.facts import Family
from export.judge import Texts, judge, measure
from export.mixed import conversion as mixed
from export.mixed.target import Target
from export.quality import check_dialogues, read_dialogues
from export.quantize import Recipe
from export.replacement import replacing
from export.report import copy_report, write_report
from export.rounding.text import CalibrationText, read_text
from export.sections import sections_of
from export.source import Checkpoint, resolve
from export.stages import Stages
from export.text_checks import compare_text, prompt_of
from export.texts import check_text, given_samples, own_prompts
from export.tokenizer import Text, load_tokenizer, write_tokenizer
from export.uses import uses_of
from export.verdict import Verdict
from export.weights import weight_files
from handler.engine import cpu
from handler.engine.bundle import Manifest, Source, write_manifest

Fuse = Callable[[Family], Converted]
TOOLS = ("onnx", "onnxruntime", "transformers", "tokenizers", "torch", "numpy")


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    source: str
    out: Path
    quant: str = "int4"
    block: int = 128
    context_tokens: int | None = None
    way: str = "auto"
    name: str | None = None
    revision: str | None = None
    rounding: str | None = None
    calibration: Path | None = None
    adapter: str | None = None
    asymmetric: bool = False
    target_size: str | None = None
    target_kl: float | None = None
    frontier: bool = False
    text: Path | None = None
    dialogues: Path | None = None
    accept: str | None = None
    report_to: Path | None = None  # without the suffix
    probes: bool = False


def export_bundle(options: Options, stages: Stages, families: Sequence[Family] = FAMILIES) -> Manifest:
    """Make the bundle `options.out`; a failure leaves what was there before.

    Raises: ExportError with one line that says what is wrong.
    """
    recipe = Recipe.named(options.quant, options.block, options.rounding, symmetric=not options.asymmetric)
    target = Target.parse(options.target_size, options.target_kl)
    mixed.check(target, recipe)
    calibration = _calibration(options, recipe)
    if options.text is not None:
        read_text(options.text, "--text")
    dialogues = read_dialogues(options.dialogues) if options.dialogues else []
    if options.accept is not None and not options.accept.strip():
        raise ExportError("--accept: is empty; say why a bundle that fails its checks is to be made")
    if options.report_to is not None:  # what cannot be written at the end is refused at the beginning
        options.report_to.parent.mkdir(parents=True, exist_ok=True)
    with replacing(options.out) as folder:
        with stages.stage("source", options.source):
            checkpoint = resolve(options.source, options.revision, options.adapter)
        with stages.stage("tokenizer", "tokenizer and chat template"):
            text = write_tokenizer(checkpoint, folder)
            if options.text is not None:  # it can be counted now, and not after the work
                check_text(options.text, load_tokenizer(checkpoint.text_folder))
            if dialogues:
                check_dialogues(dialogues, prompt_of(folder, text.tokens))
        fuse = _fusing(options, checkpoint, recipe, target, calibration, text, folder, stages)
        converted = _convert(options, checkpoint, recipe, fuse, families, folder, stages)
        draft = _manifest(options, checkpoint, converted, text)
        verdict = _judged(options, checkpoint, folder, draft, converted, stages)
        final = dataclasses.replace(draft, fidelity=verdict.as_manifest(), exact=verdict.exact)
        write_manifest(folder, final)  # from here on it can be loaded, as what follows does
        with stages.stage("golden", "greedy answers through the engine"):
            transcripts = write_golden(folder)
        source_bytes = sum(file.stat().st_size for file in weight_files(checkpoint.folder))
        sections = sections_of(options, converted, verdict, dialogues, folder, export_bundle, stages)
        uses = uses_of(checkpoint.text_folder)
        write_report(folder, final, verdict, stages.seconds, source_bytes, transcripts, sections, uses)
        with stages.stage("bundle", "hashes"):
            complete = write_manifest(folder, final)
    if options.report_to is not None:
        copy_report(options.out.resolve(), options.report_to)
    return complete


def _judged(
    options: Options,
    checkpoint: Checkpoint,
    folder: Path,
    draft: Manifest,
    converted: Converted,
    stages: Stages,
) -> Verdict:
    """The verdict on the text asked for, accepted if need be."""
    text_checks = compare_text(folder, draft, checkpoint.folder, load_tokenizer(checkpoint.text_folder))
    texts = _texts(options, checkpoint, draft)
    verdict = judge(folder, draft, converted, texts, stages, text_checks).settled(options.accept)
    if options.accept is not None:
        stages.note(f"--accept: {_accepted(verdict)}")
    return verdict


def _texts(options: Options, checkpoint: Checkpoint, draft: Manifest) -> Texts:
    """What a model is judged on."""
    tokenizer = load_tokenizer(checkpoint.text_folder)
    given = given_samples(options.text, tokenizer, draft.context_tokens, draft.dims.vocabulary)
    return Texts(given, own_prompts(tokenizer, draft.dims.vocabulary))


def _accepted(verdict: Verdict) -> str:
    failed = ", ".join(check.name for check in verdict.failed)
    return f"bundled although these failed: {failed}" if failed else "not needed, every check passed"


def _calibration(options: Options, recipe: Recipe) -> CalibrationText | None:
    """The user's text, refused before any work where nothing would read it."""
    if options.calibration is None:
        return None
    if recipe.rounding != "gptq":
        raise ExportError(
            f"--calibration: read by --rounding gptq alone, {recipe.name} is rounded to the nearest"
        )
    return read_text(options.calibration)


def _fusing(
    options: Options,
    checkpoint: Checkpoint,
    recipe: Recipe,
    target: Target | None,
    calibration: CalibrationText | None,
    text: Text,
    folder: Path,
    stages: Stages,
) -> Fuse:
    """The fused way for whichever family, in one recipe or in the mix that keeps the target."""
    context = options.context_tokens
    if target is None:
        return lambda family: fused.convert(checkpoint, family, recipe, calibration, context, folder, stages)

    def kl(converted: Converted) -> float:
        """As the judge will find it."""
        draft = _manifest(options, checkpoint, converted, text)
        return measure(folder, draft, converted, _texts(options, checkpoint, draft)).kl_mean

    return lambda family: mixed.convert(
        checkpoint,
        family,
        recipe,
        target,
        calibration,
        context,
        folder,
        kl,
        stages,
    )


def _convert(
    options: Options,
    checkpoint: Checkpoint,
    recipe: Recipe,
    fuse: Fuse,
    families: Sequence[Family],
    folder: Path,
    stages: Stages,
) -> Converted:
    """Fused where there is a family, else universal; what a family refuses stays refused unless asked."""
    if options.way != "universal":
        try:
            family = family_of(checkpoint.config, families)
        except UnknownArchitecture:
            if options.way == "fused":
                raise
        else:
            try:
                return fuse(family)
            except UnsupportedFeature as error:
                told_as_in_5 = bool(checkpoint.config.fields.get("rope_parameters"))
                if checkpoint.adapter is not None or told_as_in_5:  # which the universal way refuses as well
                    raise
                offer = "--way universal takes what optimum can export"
                raise UnsupportedFeature(f"{error}; {offer}") from None
    if checkpoint.adapter is not None:
        raise ExportError(
            "--adapter: merged into fused graphs alone; merge it with peft for the universal way"
        )
    if options.target_size or options.target_kl:
        raise ExportError("--target-size, --target-kl: for fused graphs; the universal way has one recipe")
    if options.rounding == "gptq" or options.calibration:
        raise ExportError("--rounding: gptq is for fused graphs; the universal way rounds to the nearest")
    nearest = dataclasses.replace(recipe, rounding="nearest")
    return universal.convert(checkpoint, nearest, options.context_tokens, folder, stages)


def _manifest(options: Options, checkpoint: Checkpoint, converted: Converted, text: Text) -> Manifest:
    architecture = checkpoint.config.architecture
    return Manifest(
        name=options.name or checkpoint.id.rsplit("/", 1)[-1],
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        source=Source(checkpoint.id, checkpoint.revision, checkpoint.license, architecture, converted.way),
        dims=converted.dims,
        context_tokens=converted.context_tokens,
        graph=converted.graph,
        tokens=text.tokens,
        quantization=converted.quantization,
        generation=text.generation,
        tools={name: importlib.metadata.version(name) for name in TOOLS},
        fidelity={},
        instruction_set=cpu.instruction_set(),
        row_multiple=converted.row_multiple,
    )
