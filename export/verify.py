"""The gate: a finished bundle is run by the engine and compared with transformers.

Owns the checks and their limits. All of them run, their failures are gathered, then raised together. Does not
know how the graph was made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.errors import VerificationError
from handler.engine import ort, ort_concat
from handler.engine.bundle import Manifest

Float32 = NDArray[np.float32]

VALUE_LIMIT = 1e-4  # absolute, for logits of up to about 1; relative to their size above that
# At accuracy level 4 each block of activations is rounded to int8 by its own largest value: an error of
# max / 254 / sqrt(3), which is 0.6 % of the block's root mean square for well-behaved values and 2 % where
# the largest is nine times that. The products' errors along the depth are independent: they add as squares.
ACTIVATION_ROUNDING = 0.02
PRODUCTS_PER_LAYER = 4


@dataclass(frozen=True)
class Check:
    """One thing that was compared."""

    name: str
    passed: bool
    measured: float
    limit: float
    detail: str


def open_model(
    folder: Path, manifest: Manifest, *, accuracy_level: int | None = None, threads: int | None = None
) -> Any:
    """The bundle's graph as the engine runs it, or with its matrix products at another accuracy level."""
    graph = (folder / manifest.graph.file).read_bytes()
    if accuracy_level is not None:
        graph = at_accuracy_level(graph, accuracy_level)
    shared = manifest.graph.cache == "shared"
    session = ort.open_session(graph, folder, manifest.graph.file, threads=threads, optimize=not shared)
    return ort.OrtModel(session, manifest) if shared else ort_concat.ConcatModel(session, manifest)


def at_accuracy_level(graph: bytes, level: int) -> bytes:
    """The same graph with every MatMulNBits at this accuracy level; 0 computes on float32 activations."""
    model = onnx.load_model_from_string(graph)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "accuracy_level":
                attribute.i = level
    return model.SerializeToString()  # type: ignore[no-any-return]


def all_logits(model: Any, ids: Sequence[int]) -> Float32:
    """Logits [T, V] of a text read in one piece."""
    logits: Float32 = np.array(model.forward(ids, model.new_cache(), rows=len(ids)))
    return logits


def compare_values(name: str, found: Float32, expected: Float32, detail: str) -> Check:
    """The largest difference between two models' logits against the limit."""
    scale = max(1.0, float(np.sqrt(np.mean(np.square(expected)))))
    worst = float(np.abs(found - expected).max()) if np.isfinite(found).all() else math.inf
    limit = VALUE_LIMIT * scale
    return Check(name, worst <= limit, worst, limit, detail)


def compare_rounding(found: Float32, expected: Float32, layers: int) -> Check:
    """The relative size of what rounding the activations changes, against what it may."""
    change = float(
        np.linalg.norm(found - expected) / np.linalg.norm(expected - expected.mean(-1, keepdims=True))
    )
    limit = ACTIVATION_ROUNDING * math.sqrt(PRODUCTS_PER_LAYER * layers + 1)
    return Check("activation rounding", change <= limit, change, limit, "accuracy level 4 against level 0")


def compare_tensors(model: Any, manifest: Manifest) -> Check:
    """The graph's own shapes against the manifest's dims."""
    session, dims, graph = model._session, manifest.dims, manifest.graph
    found = {x.name: list(x.shape) for x in (*session.get_inputs(), *session.get_outputs())}
    wrong = [
        f"{name} is {found[name]}"
        for layer in range(dims.layers)
        for template in (graph.past_key, graph.past_value, graph.present_key, graph.present_value)
        if (name := template.format(layer=layer)) in found
        and (found[name][1], found[name][3]) != (dims.kv_heads, dims.head_dim)
        and isinstance(found[name][3], int)
    ]
    if found[graph.logits][2] not in (dims.vocabulary, "vocab_size"):
        wrong.append(f"{graph.logits} is {found[graph.logits]}")
    return Check(
        "tensor shapes", not wrong, len(wrong), 0, ", ".join(wrong) or "names and shapes as declared"
    )


def raise_failures(checks: Sequence[Check]) -> None:
    """Raise VerificationError with every check that failed."""
    failures = [
        f"{check.name}: {check.measured:.3g}, may be {check.limit:.3g} ({check.detail})"
        for check in checks
        if not check.passed
    ]
    if failures:
        raise VerificationError(failures)
