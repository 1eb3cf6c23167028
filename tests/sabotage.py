"""Faults planted into a bundle on its way: what was written is changed before the gate looks at it.

Owns the moment and the ways to change files. Does not know what is to be seen of a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper
from rich.console import Console

from export.stages import Stages

Plant = Callable[[Path], None]


class Sabotage(Stages):
    """Changes the unfinished bundle once its files are written, before the gate looks at them."""

    def __init__(self, out: Path, plant: Plant) -> None:
        super().__init__(Console(quiet=True))
        self._out, self._plant = out, plant

    @contextmanager
    def stage(self, name: str, detail: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        with super().stage(name, detail, total) as done:
            yield done
            if name == "graph":
                (folder,) = self._out.parent.glob(f".{self._out.name}.*.partial")
                self._plant(folder)


def edit_stored(folder: Path, initializer: str, change: Callable[[Any], None]) -> None:
    """Change one initializer where it lies."""
    graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
    tensor = next(tensor for tensor in graph.initializer if tensor.name == initializer)
    place = {entry.key: entry.value for entry in tensor.external_data}
    values = np.memmap(
        folder / place["location"],
        helper.tensor_dtype_to_np_dtype(tensor.data_type),
        "r+",
        int(place["offset"]),
        tuple(tensor.dims),
    )
    change(values)
    values.flush()


def edit_graph(folder: Path, change: Callable[[Any], None]) -> None:
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    change(model.graph)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def round_by_the_call(folder: Path) -> None:
    """One product whose activations are rounded by the largest of all rows of a call."""

    def replace(graph: Any) -> None:
        node = next(n for n in graph.node if n.op_type == "MatMulNBits" and "mlp.output" in n.input[1])
        sizes = {a.name: a.i for a in node.attribute}
        weights = np.random.default_rng(5).integers(-9, 9, (sizes["K"], sizes["N"])).astype(np.int8)
        graph.initializer.append(onnx.numpy_helper.from_array(weights, "planted.weights"))
        graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.02), "planted.scale"))
        names = [node.input[0], "planted.weights", "planted.scale"]
        node.CopyFrom(helper.make_node("DynamicQuantizeMatMul", names, node.output, domain="com.microsoft"))

    edit_graph(folder, replace)
