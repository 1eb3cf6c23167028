"""The fused way: facts of a family and a checkpoint's weights into our own graph.

Owns what the manifest says of a fused graph. Does not know how the graph is built or judged.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.conversion import Computed, Converted, Past, WeightError, context_tokens
from export.evaluate import Fidelity
from export.graph.decoder import Built, build
from export.graph.facts import Decoder, Family
from export.graph.matrices import Rounded
from export.graph.stored import StoredTensors
from export.mixed.alternatives import alternatives_of, loaded_bytes
from export.mixed.section import plain_section
from export.quantize import Recipe
from export.readback import StoredModel
from export.rounding.text import CalibrationText, default_text, windows
from export.section import Section
from export.source import Checkpoint
from export.stages import Stages
from export.tokenizer import load_tokenizer
from export.weight_errors import weight_errors
from export.weights import Weights
from handler.engine.bundle import Dims, Quantization

Float32 = NDArray[np.float32]

ROW_MULTIPLE = 2  # the kernels compute rows in pairs
_NUDGES = 4  # a rare position's rounding shows in one of these, where a single draw may miss it


def convert(
    checkpoint: Checkpoint,
    family: Family,
    recipe: Recipe,
    calibration: CalibrationText | None,
    asked_context: int | None,
    folder: Path,
    stages: Stages,
) -> Converted:
    """Write the graph and its weights into `folder`; without a `calibration` text the default one is read.

    Raises: UnsupportedFeature, or ExportError naming the tensor or field.
    """
    facts = family.read(checkpoint.config)
    context = context_tokens(facts.context_tokens, asked_context)
    text = None
    if recipe.rounding == "gptq":
        text = calibration or default_text(checkpoint.folder)
    with checkpoint.weights() as weights, contextlib.ExitStack() as until_written:
        rounded = None
        if text is not None:
            scratch = until_written.enter_context(tempfile.TemporaryDirectory(dir=folder))
            rounded = _rounded(checkpoint, facts, weights, recipe, text, Path(scratch), stages)
        with stages.stage("graph", recipe.name, weights.numbers) as progress:
            built = build(facts, weights, recipe, context, folder, progress, rounded)
    judged = _Judged(checkpoint, folder, facts, built)
    return Converted(
        way="fused",
        graph=built.graph,
        dims=_dims(facts, built.parameters),
        context_tokens=context,
        quantization=quantization(recipe, facts, built, text),
        row_multiple=ROW_MULTIPLE,
        unquantized=judged.unquantized,
        unquantized_rows=judged.unquantized_rows,
        unquantized_answers=judged.unquantized_answers,
        stored=judged.stored if recipe.quantized else None,
        weight_errors=judged.weight_errors,
        precise=functools.partial(_precisely, judged.stored if recipe.quantized else judged.unquantized),
        precision=_precision(checkpoint, facts, recipe, folder),
    )


def _precision(
    checkpoint: Checkpoint, facts: Decoder, recipe: Recipe, folder: Path
) -> Callable[[Fidelity], Section]:
    """What the report says of the recipe, once it is measured."""

    def section(measured: Fidelity) -> Section:
        with checkpoint.weights() as weights:
            others = alternatives_of(facts, weights, recipe)
        return plain_section(recipe.title, loaded_bytes(folder), measured, others)

    return section


def _rounded(
    checkpoint: Checkpoint,
    facts: Decoder,
    weights: Weights,
    recipe: Recipe,
    text: CalibrationText,
    scratch: Path,
    stages: Stages,
) -> Rounded:
    """The model's matrices, rounded with the text before them, in files under `scratch`."""
    from export.rounding.kept import KeptRows
    from export.rounding.twins import round_matrices

    tokenizer = load_tokenizer(checkpoint.text_folder)
    cut = windows(text, tokenizer, facts.context_tokens, facts.matrix_parameters)
    kept = KeptRows(scratch)
    detail = f"{recipe.rounding}, {sum(map(len, cut))} tokens of {text.name}"
    with stages.stage("rounding", detail, weights.numbers) as progress:
        round_matrices(checkpoint.folder, Named(weights, facts), facts, recipe, cut, kept, progress)
    return kept


def quantization(recipe: Recipe, facts: Decoder, built: Built, text: CalibrationText | None) -> Quantization:
    """The recipe as the manifest tells it."""
    if not recipe.quantized:
        return Quantization(recipe.name, recipe.bits)
    placed = built.placements
    widened = {placed[name].initializer.removesuffix(".weight") for name in recipe.widened}
    return Quantization(
        recipe=recipe.name,
        bits=recipe.bits,
        block=recipe.block,
        head_bits=placed[facts.tensors.head.weights[0]].bits,
        head_block=recipe.block_of_table(facts.width),
        symmetric=recipe.symmetric,
        accuracy_level=recipe.accuracy_level,
        rounding=recipe.rounding,
        calibration=text.fingerprint if text else None,
        widened=tuple(sorted(widened)),
    )


def _dims(facts: Decoder, parameters: int) -> Dims:
    return Dims(
        layers=sum(stack.layers for stack in facts.stacks),
        heads=facts.heads,
        kv_heads=facts.kv_heads,
        head_dim=facts.head_dim,
        hidden=facts.hidden,
        vocabulary=facts.vocabulary,
        parameters=parameters,
    )


def _precisely(
    compute: Callable[..., list[Computed]], text: Sequence[int], past: Past | None
) -> tuple[Computed, list[Computed]]:
    """A text by one of the judges below, in float64, and as often as needed nudged."""
    return compute([text], past, precise=True)[0], compute([text] * _NUDGES, past, nudged=True)


class _Judged:
    """transformers on the checkpoint's weights, and on those that the graph holds; both streamed."""

    def __init__(self, source: Checkpoint, folder: Path, facts: Decoder, built: Built) -> None:
        self._source = source
        self._folder = folder
        self._facts = facts
        self._built = built

    def unquantized(self, texts: Sequence[Sequence[int]], past: Past | None, **how: bool) -> list[Computed]:
        """What the model as published computes, in float32 or `how` else `streamed` can."""
        from export.reference import streamed

        with self._source.weights() as weights:
            return streamed(self._source.folder, self._named(weights), texts, past, **how)

    def unquantized_rows(self, texts: Sequence[list[int]], rows: Sequence[range]) -> list[Float32]:
        """The model as published, of many texts, each at its rows."""
        from export.rows import streamed_rows

        with self._source.weights() as weights:
            return streamed_rows(self._source.folder, self._named(weights), texts, rows)

    def unquantized_answers(
        self, prompts: Sequence[list[int]], most: int, eos: Collection[int]
    ) -> list[list[int]]:
        """What the model as published answers."""
        from export.rows import streamed_answers

        with self._source.weights() as weights:
            return streamed_answers(self._source.folder, self._named(weights), prompts, most, eos)

    def stored(self, texts: Sequence[Sequence[int]], past: Past | None, **how: bool) -> list[Computed]:
        """The same by the weights that the bundle's bytes stand for."""
        from export.reference import streamed

        return streamed(self._source.folder, self._readback(), texts, past, **how)

    def weight_errors(self) -> Iterator[WeightError]:
        """Every tensor as stored against the checkpoint's own."""
        with self._source.weights() as weights:
            yield from weight_errors(self._readback(), self._named(weights))

    def _named(self, weights: Weights) -> Named:
        from export.reference import is_tied  # not the facts' word for it: they are what is judged

        return Named(weights, dataclasses.replace(self._facts, tied=is_tied(self._source.folder)))

    def _readback(self) -> StoredModel:
        return StoredModel(self._folder, self._built.placements)


class Named:
    """A checkpoint's tensors by transformers' names: a tied head is the embedding, a prefix may lack."""

    def __init__(self, weights: Weights, facts: Decoder) -> None:
        self._weights = weights
        self._facts = facts
        self._stored = StoredTensors(weights, facts.tensors.prefix)

    def read(self, name: str) -> Float32:
        """A whole tensor."""
        return self._weights.read(self._find(name))

    def chunks(self, name: str) -> Iterator[Float32]:
        """A tensor, some rows at a time."""
        return self._weights.chunks(self._find(name))

    def _find(self, name: str) -> str:
        tensors = self._facts.tensors
        tied = self._facts.tied and name in tensors.head.weights
        return self._stored.find(tensors.embedding if tied else name)
