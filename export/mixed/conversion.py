"""The fused way with a target: sensitivities, then builds until one keeps it.

Owns what is measured and what is reported of the choice. Does not know the search's order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from export import fused
from export.conversion import Converted, context_tokens
from export.errors import ExportError
from export.evaluate import Fidelity
from export.graph.facts import Decoder, Family
from export.mixed.alternatives import alternatives_of, loaded_bytes
from export.mixed.choice import Candidate, Point, candidates
from export.mixed.search import Trial, reach_kl, reach_size, refuse_too_small
from export.mixed.section import chosen_section
from export.mixed.sensitivity import divergences
from export.mixed.target import Target
from export.mixed.units import Unit, quantized_of, size_bytes, units_of
from export.quantize import Recipe
from export.rounding.text import CalibrationText, default_text, windows
from export.section import Section
from export.source import Checkpoint
from export.stages import Stages
from export.tokenizer import load_tokenizer
from export.weights import Weights

KlOf = Callable[[Converted], float]
GRAPH_BYTES = 64 << 10  # of nodes and small constants, at the start


def check(target: Target | None, recipe: Recipe) -> None:
    """Refuse a target beside a recipe that leaves nothing to choose."""
    if target is not None and recipe.name != "int4":
        option = "--target-kl" if target.size_bytes is None else "--target-size"
        raise ExportError(f"{option}: mixes int4 and int8; --quant {recipe.name} leaves nothing to choose")


def convert(
    checkpoint: Checkpoint,
    family: Family,
    recipe: Recipe,
    target: Target,
    calibration: CalibrationText | None,
    asked_context: int | None,
    folder: Path,
    kl_of: KlOf,
    stages: Stages,
) -> Converted:
    """Write the graph of the mix that keeps `target` into `folder`; `kl_of` measures what was built.

    The tokenizer has to be there before: it counts.

    Raises: ExportError that says what can be had when the target cannot.
    """
    facts = family.read(checkpoint.config)
    units = units_of(facts, recipe)
    with checkpoint.weights() as weights:
        stored = quantized_of(facts, recipe)
        floor_bytes = loaded_bytes(folder) + size_bytes(stored, recipe)  # the tokenizer is there
        if target.size_bytes is not None:
            refuse_too_small(target.size_bytes, floor_bytes)
        least_bytes = floor_bytes + _rest_bytes(weights, facts, stored, asked_context)
        ordered = _ordered(checkpoint, facts, recipe, units, weights, calibration, stages)
    built: list[Converted] = []

    def build(point: Point) -> Trial:
        chosen = point.recipe(recipe)
        converted = fused.convert(checkpoint, family, chosen, calibration, asked_context, folder, stages)
        built.append(converted)
        return Trial(point, loaded_bytes(folder), kl_of(converted))

    if target.size_bytes is not None:
        trials = reach_size(ordered, target.size_bytes, least_bytes, build)
    else:
        trials = reach_kl(ordered, target.kl or 0.0, build)
    section = _section(checkpoint, facts, recipe, target, ordered, trials)
    quantization = dataclasses.replace(built[-1].quantization, target=str(target))
    return dataclasses.replace(built[-1], quantization=quantization, precision=section)


def _ordered(
    checkpoint: Checkpoint,
    facts: Decoder,
    recipe: Recipe,
    units: list[Unit],
    weights: Weights,
    calibration: CalibrationText | None,
    stages: Stages,
) -> list[Candidate]:
    text = calibration or default_text(checkpoint.folder)
    tokenizer = load_tokenizer(checkpoint.text_folder)
    cut = windows(text, tokenizer, facts.context_tokens, facts.matrix_parameters)
    ids = [id_ for window in cut for id_ in window]
    with stages.stage("precision", f"{len(units)} matrices, one by one, on {text.name}") as progress:
        named = fused.Named(weights, facts)
        found = divergences(checkpoint.folder, named, facts, recipe, units, ids, progress)
    return candidates(units, found, recipe)


def _section(
    checkpoint: Checkpoint,
    facts: Decoder,
    recipe: Recipe,
    target: Target,
    ordered: list[Candidate],
    trials: list[Trial],
) -> Callable[[Fidelity], Section]:
    def section(measured: Fidelity) -> Section:
        with checkpoint.weights() as weights:
            others = alternatives_of(facts, weights, recipe)
        return chosen_section(target, ordered, trials, measured, others)

    return section


def _rest_bytes(weights: Weights, facts: Decoder, units: list[Unit], asked_context: int | None) -> int:
    """About what else the graph holds: norms, biases, rotations, its nodes."""
    matrices = sum(unit.height * unit.width for unit in units)
    rotates = any(each.rope for each in facts.attention)
    rotations = 4 * facts.head_dim * context_tokens(facts.context_tokens, asked_context) * rotates
    return 4 * max(0, weights.numbers - matrices) + rotations + GRAPH_BYTES
