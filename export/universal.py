"""The universal way: any architecture that optimum exports, its matrix products quantized afterwards.

Owns the call of optimum, the reading of what came out and the "concat" cache layout. Slower than a fused
graph, and the whole model is held while it is converted.

Source: https://huggingface.co/docs/optimum-onnx/onnx/usage_guides/export_a_model
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from export.architecture import load_config
from export.config import Config
from export.conversion import Computed, Converted, Float32, Past, context_tokens
from export.errors import (
    ExportError,
    UnknownArchitecture,
    UnsupportedFeature,
    VerificationError,
    first_line,
)
from export.graph.writer import DATA_FILE, GRAPH_FILE
from export.quantize import Recipe
from export.requantize import quantize_graph, restore_graph
from export.source import Checkpoint
from export.stages import Stages
from export.verify import compare_values
from export.weights import Weights
from handler.engine.bundle import Dims, Graph, Quantization

TASK = "text-generation-with-past"
CONTEXT_FIELDS = ("max_position_embeddings", "n_positions", "seq_length", "max_seq_len")


def convert(
    checkpoint: Checkpoint, recipe: Recipe, asked_context: int | None, folder: Path, stages: Stages
) -> Converted:
    """Write the graph and its weights into `folder`.

    Raises: UnknownArchitecture when optimum has no export either; UnsupportedFeature for rotations spelled
    as in transformers 5; ExportError for a cache of another layout, or weights that are not this model's.
    """
    if checkpoint.config.fields.get("rope_parameters"):  # each architecture has older names of its own
        rule = "only rope_theta and rope_scaling, as transformers 4 saves them"
        raise UnsupportedFeature(
            f"{checkpoint.config.path}: rope_parameters: not supported by the universal way, {rule}"
        )
    context = context_tokens(_trained_context(checkpoint.config, asked_context), asked_context)
    judged = _Judged(checkpoint)
    with stages.stage("graph", f"{recipe.name}, by optimum"):
        _export(checkpoint, judged.folder)
        model = onnx.load(judged.folder / GRAPH_FILE)
        graph, dims = _contract(model), _dims(checkpoint, model)
        judged.graph = graph
        if recipe.quantized:
            quantized = quantize_graph(model, recipe)
            _save(model, folder)
            restore_graph(model, quantized, recipe)
            _save(model, judged.stored_folder)
        else:
            _save(model, folder)
    return Converted(
        way="universal",
        graph=graph,
        dims=dims,
        context_tokens=context,
        quantization=_quantization(recipe),
        row_multiple=1,
        unquantized=judged.unquantized,
        unquantized_rows=judged.unquantized_rows,
        unquantized_answers=judged.unquantized_answers,
        stored=judged.stored if recipe.quantized else None,
    )


def _export(checkpoint: Checkpoint, folder: Path) -> None:
    """Let optimum trace the very model that judges: one it loads itself computes attention its own way.

    Raises: UnknownArchitecture; ExportError for weights that are not the architecture's.
    """
    from optimum.exporters.onnx import onnx_export_from_model
    from transformers import logging as transformers_logging

    from export.reference import whole_model

    logging.getLogger("optimum").setLevel(logging.ERROR)
    transformers_logging.set_verbosity_error()
    talk = io.StringIO()  # tracing is talkative, and none of it is about the user's model
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(talk), contextlib.redirect_stderr(talk):
            warnings.simplefilter("ignore")
            model = whole_model(checkpoint.folder)
            model.config.use_cache = True
            onnx_export_from_model(
                model,
                folder,
                task=TASK,
                device="cpu",
                do_validation=False,  # against transformers it is checked by `verify`
            )
    except ExportError:
        raise
    except Exception as error:  # optimum raises whatever its parts raise
        raise UnknownArchitecture(
            f"{checkpoint.config.architecture}: optimum cannot export it: {first_line(error)}"
        ) from error


def _contract(model: Any) -> Graph:
    """Which tensor plays which role in optimum's graph."""
    names = {value.name for value in model.graph.input}
    wanted = {"input_ids", "attention_mask", "past_key_values.0.key", "past_key_values.0.value"}
    if missing := sorted(wanted - names):
        raise ExportError(
            f"the exported graph has no input {', '.join(missing)}: its cache has another layout"
        )
    return Graph(
        file=GRAPH_FILE,
        cache="concat",
        input_ids="input_ids",
        logits="logits",
        past_key="past_key_values.{layer}.key",
        past_value="past_key_values.{layer}.value",
        present_key="present.{layer}.key",
        present_value="present.{layer}.value",
        attention_mask="attention_mask",
        position_ids="position_ids" if "position_ids" in names else None,
    )


def _dims(checkpoint: Checkpoint, model: Any) -> Dims:
    """Sizes, the cache's from the graph itself."""
    shapes = {
        value.name: [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    past = shapes["past_key_values.0.key"]  # [B, K, S, D]
    if len(past) != 4 or not isinstance(past[1], int) or not isinstance(past[3], int):
        raise ExportError(
            f"the exported graph's cache has shape {past}, only [batch, kv heads, past, head dim] is run"
        )
    config = load_config(checkpoint.folder)
    with Weights(checkpoint.folder) as weights:
        parameters = weights.numbers
    return Dims(
        layers=sum(name.startswith("past_key_values.") and name.endswith(".key") for name in shapes),
        heads=config.num_attention_heads,
        kv_heads=past[1],
        head_dim=past[3],
        hidden=config.hidden_size,
        vocabulary=config.vocab_size,
        parameters=parameters,
    )


def _trained_context(config: Config, asked: int | None) -> int:
    for name in CONTEXT_FIELDS:
        if name in config.fields:
            return config.integer(name)
    if asked is None:
        raise ExportError(
            f"{config.path}: says no context length ({', '.join(CONTEXT_FIELDS)}); give --context"
        )
    return asked


def _quantization(recipe: Recipe) -> Quantization:
    if not recipe.quantized:
        return Quantization(recipe.name, recipe.bits)
    return Quantization(
        recipe.name,
        recipe.bits,
        recipe.block,
        symmetric=recipe.symmetric,
        accuracy_level=recipe.accuracy_level,
    )


def _save(model: Any, folder: Path) -> None:
    onnx.save_model(
        model, folder / GRAPH_FILE, save_as_external_data=True, location=DATA_FILE, size_threshold=1024
    )
    onnx.load_external_data_for_model(model, str(folder))  # saving turned its tensors into references


class _Judged:
    """transformers whole, the graph as exported, and the graph on the weights that were stored."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._scratch = tempfile.TemporaryDirectory(prefix="dormouse-universal-")  # lives as long as this
        self.folder = Path(self._scratch.name)
        self.stored_folder = self.folder / "stored"
        self.stored_folder.mkdir()
        self.graph: Graph | None = None

    def unquantized(self, texts: Sequence[Sequence[int]], past: Past | None) -> list[Computed]:
        """What transformers computes, after the exported graph has proved equal to it.

        Raises: VerificationError.
        """
        from export.reference import whole

        expected = whole(self._checkpoint.folder, texts, past)
        found = self._run(self.folder, texts, past)
        check = compare_values("exported graph", found, expected, "against transformers")
        if not check.passed:
            raise VerificationError([check.told])
        return expected

    def unquantized_rows(self, texts: Sequence[list[int]], rows: Sequence[range]) -> list[Float32]:
        """transformers' logits of many texts, each at its rows."""
        from export.rows import whole_rows

        return whole_rows(self._checkpoint.folder, texts, rows)

    def unquantized_answers(
        self, prompts: Sequence[list[int]], most: int, eos: Collection[int]
    ) -> list[list[int]]:
        """What transformers answers."""
        from export.rows import whole_answers

        return whole_answers(self._checkpoint.folder, prompts, most, eos)

    def stored(self, texts: Sequence[Sequence[int]], past: Past | None) -> list[Computed]:
        """What the exported graph computes on the dequantized weights."""
        return self._run(self.stored_folder, texts, past)

    def _run(self, folder: Path, texts: Sequence[Sequence[int]], past: Past | None) -> list[Computed]:
        session = onnxruntime.InferenceSession(str(folder / GRAPH_FILE), providers=["CPUExecutionProvider"])
        return [self._run_one(session, text, past) for text in texts]

    def _run_one(self, session: Any, ids: Sequence[int], past: Past | None) -> Computed:
        before = past.length if past else 0
        feed: dict[str, NDArray[Any]] = {}
        for x in session.get_inputs():
            if x.name.startswith("past_key_values."):
                if past is None:
                    feed[x.name] = np.zeros((1, x.shape[1], 0, x.shape[3]), np.float32)
                else:
                    feed[x.name] = (past.keys if x.name.endswith(".key") else past.values)[None]
        feed["input_ids"] = np.array([ids], np.int64)
        feed["attention_mask"] = np.ones((1, before + len(ids)), np.int64)
        if self.graph is not None and self.graph.position_ids:
            feed[self.graph.position_ids] = np.arange(before, before + len(ids), dtype=np.int64)[None]
        layers = sum(name.startswith("past_key_values.") for name in feed) // 2
        names = [f"present.{layer}.{part}" for layer in range(layers) for part in ("key", "value")]
        logits, *present = session.run(["logits", *names], feed)
        kept = [part[0, :, before:] for part in present]
        return Computed(logits[0], tuple(zip(kept[::2], kept[1::2], strict=True)))
