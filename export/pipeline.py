"""An export from source to bundle: the steps in the order they happen.

Owns the order, the temporary folder and the rename that makes a bundle appear whole or not at all. Does not
know how any step is done.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from export.errors import ExportError
from export.graph import family_of
from export.graph.decoder import Built, build
from export.graph.facts import Decoder
from export.quantize import Recipe
from export.source import Checkpoint, resolve
from export.stages import Stages
from export.tokenizer import Text, write_tokenizer
from export.weights import Weights
from handler.engine.bundle import MANIFEST, Dims, Manifest, Quantization, Source, write_manifest

DEFAULT_CONTEXT_TOKENS = 8192  # where the model was trained on more
TOOLS = ("onnx", "onnxruntime", "transformers", "tokenizers", "numpy")


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


def export_bundle(options: Options, stages: Stages) -> Manifest:
    """Make the bundle `options.out`; a failure leaves what was there before.

    Raises: ExportError with one line that says what is wrong.
    """
    recipe = Recipe.named(options.quant, options.block)
    with replacing(options.out) as folder:
        with stages.stage("source", options.source):
            checkpoint = resolve(options.source, options.revision)
        facts = family_of(checkpoint.config).read(checkpoint.config)
        context = _context_tokens(facts.context_tokens, options.context_tokens)
        built = _fused(checkpoint, facts, recipe, context, folder, stages)
        with stages.stage("tokenizer", "tokenizer and chat template"):
            text = write_tokenizer(checkpoint, folder)
        with stages.stage("bundle", "hashes"):
            return write_manifest(folder, _manifest(options, checkpoint, facts, built, text, recipe, context))


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A new sibling folder of `out` that takes its place at the end, or vanishes with any failure."""
    if out.exists() and not (out / MANIFEST).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(
            f"--out: {out} exists and is not a bundle; name a new folder or an old bundle to replace"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    try:
        yield folder
        folder.chmod(0o755)  # mkdtemp's own is for its maker alone
        old = folder.with_suffix(".old")
        if out.exists():
            os.replace(out, old)
        os.replace(folder, out)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fused(
    checkpoint: Checkpoint, facts: Decoder, recipe: Recipe, context: int, folder: Path, stages: Stages
) -> Built:
    with (
        Weights(checkpoint.folder) as weights,
        stages.stage("graph", recipe.name, weights.numbers) as progress,
    ):
        return build(facts, weights, recipe, context, folder, progress)


def _context_tokens(trained: int, asked: int | None) -> int:
    if asked is None:
        return min(trained, DEFAULT_CONTEXT_TOKENS)
    if not 2 <= asked <= trained:
        raise ExportError(f"--context: {asked}, must be from 2 to {trained}, what the model was trained on")
    return asked


def _manifest(
    options: Options,
    checkpoint: Checkpoint,
    facts: Decoder,
    built: Built,
    text: Text,
    recipe: Recipe,
    context: int,
) -> Manifest:
    head_block = recipe.block_for(facts.hidden) if recipe.quantized else None
    return Manifest(
        name=options.name or checkpoint.id.rsplit("/", 1)[-1],
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        source=Source(
            checkpoint.id, checkpoint.revision, checkpoint.license, checkpoint.config.architecture, "fused"
        ),
        dims=Dims(
            layers=facts.layers,
            heads=facts.heads,
            kv_heads=facts.kv_heads,
            head_dim=facts.head_dim,
            hidden=facts.hidden,
            vocabulary=facts.vocabulary,
            parameters=built.parameters,
        ),
        context_tokens=context,
        graph=built.graph,
        tokens=text.tokens,
        quantization=Quantization(
            recipe=recipe.name,
            bits=recipe.bits,
            block=recipe.block if recipe.quantized else None,
            head_bits=recipe.bits if recipe.quantized else None,
            head_block=head_block,
            accuracy_level=recipe.accuracy_level if recipe.quantized else None,
        ),
        generation=text.generation,
        tools={name: importlib.metadata.version(name) for name in TOOLS},
        fidelity={},
    )
