"""A graph of the "shared" layout run by the bare rules of the manifest, for tests that judge the graph alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from handler.engine.bundle import MANIFEST, Manifest, read_manifest

Float32 = NDArray[np.float32]


class SharedRunner:
    """One conversation: `feed` appends ids to the cache and gives a row of logits for each of them.

    Every call has an even number of rows: an odd one gets its last id once more, overwritten by the next call.
    """

    def __init__(self, bundle: Path, session: ort.InferenceSession | None = None, threads: int = 1) -> None:
        assert (bundle / MANIFEST).is_file(), json.dumps(str(bundle))
        self.manifest: Manifest = read_manifest(bundle)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        path = str(bundle / self.manifest.graph.file)
        self._session = session or ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        dims = self.manifest.dims
        shape = (1, dims.kv_heads, self.manifest.context_tokens, dims.head_dim)
        self._kv = {
            (layer, part): ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32))
            for layer in range(dims.layers)
            for part in ("key", "value")
        }
        self.length = 0

    def feed(self, ids: Sequence[int]) -> Float32:
        """Logits [T, V] of every one of `ids`, which join the cache."""
        graph, padded = self.manifest.graph, [*ids, *ids[-1:]] if len(ids) % 2 else list(ids)
        total = self.length + len(padded)
        inputs: dict[str | None, NDArray[Any]] = {
            graph.input_ids: np.array([padded], np.int64),
            graph.rows: np.arange(len(padded), dtype=np.int64),
            graph.seqlens: np.array([total - 1], np.int32),
            graph.total_length: np.array(total, np.int32),
        }
        if graph.position_ids:
            inputs[graph.position_ids] = np.arange(self.length, total, dtype=np.int64)[None]
        binding = self._session.io_binding()
        for name, array in inputs.items():
            binding.bind_cpu_input(name, array)
        binding.bind_output(graph.logits)  # first, so that it is the first to come back
        for (layer, part), buffer in self._kv.items():
            binding.bind_ortvalue_input(getattr(graph, f"past_{part}").format(layer=layer), buffer)
            binding.bind_ortvalue_output(getattr(graph, f"present_{part}").format(layer=layer), buffer)
        self._session.run_with_iobinding(binding)
        self.length += len(ids)
        logits: Float32 = binding.get_outputs()[0].numpy()[0, : len(ids)]
        return logits
