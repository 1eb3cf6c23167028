"""The finished graph as the engine runs it, seen the way the judge sees models.

Owns the opening of the graph, at another accuracy level where that is asked, and the engine's caches as
places to look into and to put a made-up past. Does not know what anything is compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.conversion import Computed, Past
from handler.engine import ort, ort_concat
from handler.engine.bundle import NO_ID, Manifest

Float32 = NDArray[np.float32]


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


def all_logits(model: Any, ids: Sequence[int], past: Past | None = None) -> Float32:
    """Logits [T, V] of a text read in one piece."""
    logits: Float32 = np.array(model.forward(ids, cache_behind(model, past), rows=len(ids)))
    return logits


def computed(model: Any, texts: Sequence[Sequence[int]], past: Past | None = None) -> list[Computed]:
    """What the graph makes of each text, and what it keeps of it in each layer."""
    found = []
    for ids in texts:
        cache = cache_behind(model, past)
        logits: Float32 = np.array(model.forward(ids, cache, rows=len(ids)))
        found.append(Computed(logits, () if past else _kept(cache)))
    return found


def cache_behind(model: Any, past: Past | None) -> Any:
    """A new cache, or one in which every layer holds `past`.

    A shared one is given the same two buffers for all layers: a layer reads what it has just written, and the
    next writes over it, so that the end of a long context costs one layer's memory.
    """
    cache = model.new_cache()
    if past is None:
        return cache
    parts = [np.ascontiguousarray(part[None]) for part in (past.keys, past.values)]
    if isinstance(cache, ort_concat.ConcatCache):
        cache.past = parts * (len(cache.past) // 2)
        return cache
    buffers = []
    for part in parts:
        buffer = np.zeros((1, part.shape[1], model.context_tokens, part.shape[3]), np.float32)
        buffer[:, :, : past.length] = part
        buffers.append(buffer)
    cache.buffers = buffers * (len(cache.buffers) // 2)
    cache.ids, cache.capacity = [NO_ID] * past.length, model.context_tokens
    return cache


def _kept(cache: Any) -> tuple[tuple[Float32, Float32], ...]:
    parts = cache.past if isinstance(cache, ort_concat.ConcatCache) else cache.buffers
    told = [part[0, :, : cache.length].copy() for part in parts]
    return tuple(zip(told[::2], told[1::2], strict=True))
