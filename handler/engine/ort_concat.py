"""Universal graphs (optimum's layout): the past goes in, a longer present comes out, copied on every call.

Owns the cache of that layout. Slower than `ort.OrtModel`, for architectures without a fused graph. Knows
tensors by their role in the manifest alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handler.engine.bundle import Manifest
from handler.engine.ort import check_tensors, run

CHUNK_ROWS = 128

Floats = NDArray[np.float32]


class ConcatCache:
    """Keys and values of one sequence as the last call returned them."""

    def __init__(self, manifest: Manifest) -> None:
        dims = manifest.dims
        empty = np.zeros((1, dims.kv_heads, 0, dims.head_dim), np.float32)
        self.past: list[Floats] = [empty] * (2 * dims.layers)  # [1, K, S, D] each

    @property
    def length(self) -> int:
        """How many ids it holds."""
        return int(self.past[0].shape[2])

    def truncate(self, length: int) -> None:
        """Forget everything from position `length` on."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot truncate a cache of {self.length} to {length}")
        if length < self.length:
            self.past = [np.ascontiguousarray(x[:, :, :length]) for x in self.past]

    def reserve(self, total: int) -> None:
        """Nothing: every call makes its own room."""


class ConcatModel:
    """A universal graph: one call takes ids and past, and returns all logits and the present."""

    def __init__(self, session: Any, manifest: Manifest) -> None:
        check_tensors(session, manifest)
        self.context_tokens = manifest.context_tokens
        self._session, self._manifest = session, manifest
        graph, layers = manifest.graph, range(manifest.dims.layers)
        self._pasts = [n.format(layer=i) for i in layers for n in (graph.past_key, graph.past_value)]
        self._outputs = [graph.logits]
        self._outputs += [n.format(layer=i) for i in layers for n in (graph.present_key, graph.present_value)]

    def new_cache(self) -> ConcatCache:
        """Make an empty cache."""
        return ConcatCache(self._manifest)

    def forward(self, ids: Sequence[int], cache: ConcatCache, rows: int = 1) -> Floats:
        """Append `ids` to the cache; return the logits after each of the last `rows` ids.

        Raises: Unavailable when ONNX Runtime fails, out of memory for one.
        """
        first = len(ids) - rows
        if not ids or first < 0:
            raise ValueError(f"cannot give {rows} rows of {len(ids)} ids")
        if cache.length + len(ids) > self.context_tokens:
            raise ValueError(
                f"{cache.length + len(ids)} positions exceed the context of {self.context_tokens}"
            )
        parts = [np.empty((0, self._manifest.dims.vocabulary), np.float32)]
        for at in range(0, len(ids), CHUNK_ROWS):
            chunk = ids[at : at + CHUNK_ROWS]
            logits = self._compute(chunk, cache)  # [T, V]
            parts.append(logits[max(0, first - at) :])
        return np.concatenate(parts)

    def _compute(self, ids: Sequence[int], cache: ConcatCache) -> Floats:
        graph, start, total = self._manifest.graph, cache.length, cache.length + len(ids)
        feed: dict[str, NDArray[Any]] = dict(zip(self._pasts, cache.past, strict=True))
        feed[graph.input_ids] = np.array([ids], np.int64)
        if graph.attention_mask is not None:
            feed[graph.attention_mask] = np.ones((1, total), np.int64)
        if graph.position_ids is not None:
            feed[graph.position_ids] = np.arange(start, total, dtype=np.int64)[None]
        logits, *cache.past = run(self._session, self._outputs, feed)
        return logits[0]  # type: ignore[no-any-return]
