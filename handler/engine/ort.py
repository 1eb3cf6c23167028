"""Fused graphs on ONNX Runtime: the session, KV buffers shared by past and present, and `forward`.

Owns the rule that makes results exact: every call computes an even number of rows, so that the kernels, which
work in pairs of rows, give the same bits however a prompt is cut and whatever is cached. An odd call is
padded with one more row, whose key and value the next call overwrites. Not `exact`, a single row stays alone:
faster where the context is long, and then the last bits depend on what was guessed and cached.
Knows tensors by their role in the manifest alone, and nothing of what ids mean.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# NumPy multiplies no matrices here: its threads cost 40 ms.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Since 1.29 the import alone opens a database, a device id and a thread that reports to Microsoft.
# Source: https://github.com/microsoft/onnxruntime/pull/27379
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from handler.engine.bundle import NO_ID, Manifest
from handler.engine.files import Weights
from handler.errors import BundleError, Unavailable

CHUNK_ROWS = 128  # prefill this way is 5 to 9 % faster than in one piece; even, so that chunks are exact
KEPT_STEP_ROWS = 16  # row counts up to this keep their bindings: decoding and drafts
GROWTH_TOKENS = 128  # KV buffers grow to twice their size, in multiples of this

TILED_ATTENTION_OFF = "ORT_GQA_DISABLE_FLASH_ATTENTION"

Floats = NDArray[np.float32]


def open_session(
    graph: bytes,
    weights: Weights,
    name: str,
    *,
    threads: int | None,
    optimize: bool,
    in_parallel: bool = False,
    exact: bool = True,
) -> Any:
    """Create a session from the very bytes that were verified; `name` is what messages call the graph.

    Weights are mapped from a folder, or copied from memory, which then may be given back: ONNX Runtime keeps
    its own copy, or the packed form.

    `in_parallel`: kernels rearrange their weights with all threads. ONNX Runtime then lets go of the mapped
    ones only at the end, so that both forms are resident at once; else one tensor after the other.
    `exact`: attention in one piece. The tiled kernel sums by blocks whose size is that of the processor's L2
    cache, so that hosts with one instruction set could differ; it is faster only for a single row.

    Raises: BundleError when ONNX Runtime refuses the graph.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or usable_cores()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False  # buffers are bound by us: the arena only keeps memory
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    if isinstance(weights, Path):
        key = "session.model_external_initializers_file_folder_path"
        options.add_session_config_entry(key, str(weights))
    else:
        names, contents = list(weights), list(weights.values())
        options.add_external_initializers_from_files_in_memory(names, contents, list(map(len, contents)))
    options.add_session_config_entry("session.prepack.enable_parallel", str(int(in_parallel)))
    os.environ[TILED_ATTENTION_OFF] = str(int(exact))  # read when the kernels are made
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class but this one
        raise BundleError(f"{name}: ONNX Runtime refuses it: {_first_line(error)}") from error


def usable_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Count the whole cores this process may use: those it is shown, or what its container's quota is worth.

    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html (`cpu.max`: microseconds in a period, or `max`)
    """
    shown = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        allowed, period = quota.read_text().split()
    except (OSError, ValueError):
        return shown
    return shown if allowed == "max" else min(shown, max(1, int(allowed) // int(period)))


def check_tensors(session: Any, manifest: Manifest) -> None:
    """Compare the graph's tensor names with the manifest's.

    Raises: BundleError listing what is missing.
    """
    graph, layers = manifest.graph, range(manifest.dims.layers)
    inputs = {graph.input_ids, graph.rows, graph.seqlens, graph.total_length}
    inputs |= {graph.position_ids, graph.attention_mask, graph.previous_id}
    inputs |= {name.format(layer=i) for name in (graph.past_key, graph.past_value) for i in layers}
    outputs = {name.format(layer=i) for name in (graph.present_key, graph.present_value) for i in layers}
    missing = inputs - {None} - {tensor.name for tensor in session.get_inputs()}
    missing |= (outputs | {graph.logits}) - {tensor.name for tensor in session.get_outputs()}
    if missing:
        names = ", ".join(sorted(map(str, missing)))
        raise BundleError(f"{graph.file}: has no tensor {names}, which the manifest names")


def run(session: Any, outputs: list[str], feed: dict[str, NDArray[Any]]) -> list[Any]:
    """Run a session without bindings.

    Raises: Unavailable when ONNX Runtime fails, out of memory for one.
    """
    with _failing_as_unavailable():
        found: list[Any] = session.run(outputs, feed)
    return found


class OrtCache:
    """Ids, keys and values of one sequence, in place: each layer's buffer is both past and present."""

    def __init__(self, manifest: Manifest) -> None:
        dims = manifest.dims
        self.ids: list[int] = []
        self.capacity = 0  # M
        self.limit = manifest.context_tokens
        # [1, K, M, D] each: key of layer 0, value of layer 0, key of layer 1, ...
        self.buffers: list[Floats] = [
            np.zeros((1, dims.kv_heads, 0, dims.head_dim), np.float32) for _ in range(2 * dims.layers)
        ]
        self.steps: dict[tuple[int, int], _Step] = {}

    @property
    def length(self) -> int:
        """How many ids it holds."""
        return len(self.ids)

    def truncate(self, length: int) -> None:
        """Forget everything from position `length` on; the buffers stay."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot truncate a cache of {self.length} to {length}")
        del self.ids[length:]

    def reserve(self, total: int) -> None:
        """Make room for `total` ids; growing later copies what is held, therefore it then doubles.

        Raises: Unavailable where there is not the memory; the cache is then what it was.
        """
        if total <= self.capacity:
            return
        wanted = max(total, 2 * self.capacity)
        capacity = min(self.limit, -(-wanted // GROWTH_TOKENS) * GROWTH_TOKENS)
        with _failing_as_unavailable():  # all or none; zeros take no memory before they are written to
            grown = [np.zeros((*x.shape[:2], capacity, x.shape[3]), np.float32) for x in self.buffers]
        self.steps.clear()
        self.capacity = capacity
        for at, new in enumerate(grown):
            new[:, :, : self.length] = self.buffers[at][:, :, : self.length]
            self.buffers[at] = new


@dataclass(frozen=True, slots=True)
class _Step:
    """Everything bound for one (row count, logit row count): filled, run, and read in place."""

    binding: Any
    ids: NDArray[np.int64]  # [1, T]
    rows: NDArray[np.int64]  # [R]
    positions: NDArray[np.int64] | None  # [1, T]
    previous: NDArray[np.int64] | None  # [1, 1]: the id before the first
    past: NDArray[np.int32]  # [1]: total length - 1
    total: NDArray[np.int32]  # []
    logits: Floats  # [1, R, V]


class OrtModel:
    """A fused graph: `forward` appends to a cache in place and returns logits for the rows asked for."""

    def __init__(self, session: Any, manifest: Manifest, *, exact: bool = True) -> None:
        check_tensors(session, manifest)
        self.context_tokens = manifest.context_tokens
        self._session, self._manifest = session, manifest
        self._multiple, self._exact = manifest.row_multiple, exact

    def new_cache(self) -> OrtCache:
        """Make an empty cache; it takes memory as it grows."""
        return OrtCache(self._manifest)

    def forward(self, ids: Sequence[int], cache: OrtCache, rows: int = 1) -> Floats:
        """Append `ids` to the cache; return the logits after the last `rows`, good until the next call.

        Raises: Unavailable when ONNX Runtime fails, out of memory for one.
        """
        first = len(ids) - rows
        if not ids or first < 0:
            raise ValueError(f"cannot give {rows} rows of {len(ids)} ids")
        parts = []
        for at in range(0, len(ids), CHUNK_ROWS):
            chunk = ids[at : at + CHUNK_ROWS]
            wanted = min(len(chunk), max(0, at + len(chunk) - first))
            part = self._compute(chunk, cache, wanted)
            if wanted:
                # Copied, since the next chunk writes to the same buffer.
                parts.append(part if wanted == rows else part.copy())
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.empty((0, self._manifest.dims.vocabulary), np.float32)

    def _compute(self, ids: Sequence[int], cache: OrtCache, wanted: int) -> Floats:
        computed = self._pad(len(ids))  # T
        total = cache.length + computed
        if total > self.context_tokens:
            raise ValueError(f"{total} positions exceed the context of {self.context_tokens}")
        cache.reserve(total)
        step = self._step(cache, computed, self._pad(max(wanted, 1)))
        step.ids[0, : len(ids)] = ids
        step.ids[0, len(ids) :] = ids[-1]
        step.rows[:] = len(ids) - 1
        step.rows[:wanted] = np.arange(len(ids) - wanted, len(ids))
        if step.positions is not None:
            step.positions[0, :] = np.arange(cache.length, total)
        if step.previous is not None:
            step.previous[0, 0] = cache.ids[-1] if cache.ids else NO_ID
        step.past[0] = total - 1
        step.total[()] = total
        with _failing_as_unavailable():
            self._session.run_with_iobinding(step.binding)
        cache.ids += ids
        return step.logits[0, :wanted]

    def _pad(self, count: int) -> int:
        if count == 1 and not self._exact:
            return 1
        return -(-count // self._multiple) * self._multiple

    def _step(self, cache: OrtCache, computed: int, logit_rows: int) -> _Step:
        """Find or make the bindings; only row counts that come again are kept, with their buffers."""
        step = cache.steps.get((computed, logit_rows))
        if step is None:
            step = self._bind(cache, computed, logit_rows)
            is_chunk = computed == CHUNK_ROWS and logit_rows <= KEPT_STEP_ROWS  # else logits of 128 rows stay
            if computed <= KEPT_STEP_ROWS or is_chunk:
                cache.steps[computed, logit_rows] = step
        return step

    def _bind(self, cache: OrtCache, computed: int, logit_rows: int) -> _Step:
        graph = self._manifest.graph
        step = _Step(
            binding=self._session.io_binding(),
            ids=np.zeros((1, computed), np.int64),
            rows=np.zeros(logit_rows, np.int64),
            positions=np.zeros((1, computed), np.int64) if graph.position_ids else None,
            previous=np.zeros((1, 1), np.int64) if graph.previous_id else None,
            past=np.zeros(1, np.int32),
            total=np.zeros((), np.int32),
            logits=np.zeros((1, logit_rows, self._manifest.dims.vocabulary), np.float32),
        )
        inputs: dict[str | None, NDArray[Any] | None] = {graph.input_ids: step.ids, graph.rows: step.rows}
        inputs |= {graph.seqlens: step.past, graph.previous_id: step.previous}
        inputs |= {graph.total_length: step.total, graph.position_ids: step.positions}
        for name, array in inputs.items():
            if name is not None and array is not None:
                step.binding.bind_ortvalue_input(name, _in_place(array))
        step.binding.bind_ortvalue_output(graph.logits, _in_place(step.logits))
        ends = ((graph.past_key, graph.present_key), (graph.past_value, graph.present_value))
        for at, buffer in enumerate(cache.buffers):
            past, present = ends[at % 2]
            shared = _in_place(buffer)
            step.binding.bind_ortvalue_input(past.format(layer=at // 2), shared)
            step.binding.bind_ortvalue_output(present.format(layer=at // 2), shared)
        return step


def _in_place(array: NDArray[Any]) -> Any:
    """Wrap an array without copying it: what is written there is what the session reads, and back."""
    value = onnxruntime.OrtValue.ortvalue_from_numpy(array)
    if value.data_ptr() != array.ctypes.data:
        raise RuntimeError("this ONNX Runtime copies arrays that it should share")
    return value


@contextmanager
def _failing_as_unavailable() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # ONNX Runtime's exceptions share no base class but this one
        raise Unavailable(f"The model failed: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
