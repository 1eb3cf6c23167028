"""An ONNX graph in the making: nodes in order, weights streamed into one file beside it.

Owns the ONNX protobuf and the external data file. Tensors go to disk as they come, a chunk at a time, so that
what is held never grows with the model. Does not know what the graph computes.

Source: https://onnx.ai/onnx/repo-docs/ExternalData.html
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.errors import about

MICROSOFT = "com.microsoft"  # onnxruntime's own operators
OPSET = 21
MICROSOFT_OPSET = 1
IR_VERSION = 10
ALIGNMENT_BYTES = 64  # a cache line, and what vector loads want
GRAPH_FILE = "model.onnx"
DATA_FILE = "model.onnx.data"

Shape = tuple[int | str, ...]


class GraphWriter:
    """Collects nodes and streams weights under `folder`; `finish` writes the graph."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._data = (folder / DATA_FILE).open("wb")

    def input(self, name: str, dtype: int, shape: Shape) -> str:
        """Declare a graph input."""
        self._inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, name: str, dtype: int, shape: Shape) -> str:
        """Declare a graph output; some node must write it."""
        self._outputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def node(
        self, operator: str, inputs: list[str], outputs: str | list[str], domain: str = "", **attributes: Any
    ) -> str:
        """Append a node; its first output's name comes back."""
        names = [outputs] if isinstance(outputs, str) else outputs
        made = helper.make_node(operator, inputs, names, name=names[0], domain=domain, **attributes)
        self._nodes.append(made)
        return names[0]

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """A small tensor kept inside the graph file."""
        self._initializers[name] = numpy_helper.from_array(values, name)
        return name

    def int64(self, name: str, values: list[int]) -> str:
        """A constant list of whole numbers."""
        return self.constant(name, np.array(values, np.int64))

    def scaled(self, name: str, x: str, factor: float) -> str:
        """x times a number; x itself where that is one."""
        if factor == 1.0:
            return x
        constant = self.constant(f"{name}.factor", np.array(factor, np.float32))
        return self.node("Mul", [x, constant], name)

    def weight(self, name: str, shape: tuple[int, ...], chunks: Iterable[NDArray[Any]]) -> str:
        """A tensor streamed to the data file; the chunks, laid end to end, fill `shape`."""
        self._write(bytes(-self._data.tell() % ALIGNMENT_BYTES))
        offset, dtype = self._data.tell(), np.dtype(np.float32)
        for chunk in chunks:
            dtype = chunk.dtype
            self._write(np.ascontiguousarray(chunk).data)
        length = self._data.tell() - offset
        if length != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{name}: {length} bytes were written for shape {shape} of {dtype}")
        return self._external(name, helper.np_dtype_to_tensor_dtype(dtype), shape, offset, length)

    def alias(self, name: str, of: str, shape: tuple[int, ...]) -> str:
        """Another view of the bytes of the weight `of`; they are stored once."""
        twin = self._initializers[of]
        place = {entry.key: entry.value for entry in twin.external_data}
        return self._external(name, twin.data_type, shape, int(place["offset"]), int(place["length"]))

    def finish(self, name: str) -> None:
        """Close the data file and write the graph beside it."""
        self.close()
        graph = helper.make_graph(
            self._nodes, name, self._inputs, self._outputs, initializer=list(self._initializers.values())
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, MICROSOFT_OPSET)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="dormouse"
        )
        with about(self.folder / GRAPH_FILE):
            onnx.save_model(model, self.folder / GRAPH_FILE)

    def close(self) -> None:
        """Close the data file, finished or not."""
        with about(self.folder / DATA_FILE):
            self._data.close()

    def _write(self, content: bytes | memoryview) -> None:
        with about(self.folder / DATA_FILE):
            self._data.write(content)

    def _external(self, name: str, dtype: int, shape: tuple[int, ...], offset: int, length: int) -> str:
        tensor = TensorProto(name=name, data_type=dtype, dims=shape, data_location=TensorProto.EXTERNAL)
        for key, value in (("location", DATA_FILE), ("offset", str(offset)), ("length", str(length))):
            tensor.external_data.add(key=key, value=value)
        self._initializers[name] = tensor
        return name
