"""How weights are stored in ONNX graphs and safetensors files: bits, blocks, and bytes read for each token.

Reads files; knows nothing of who wrote them.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx


@dataclass(frozen=True)
class Matrix:
    """One weight matrix of a graph."""

    storage: str
    height: int
    parameters: int
    stored_bytes: int


@dataclass(frozen=True)
class Stored:
    """All the matrices that a token goes through."""

    weights: str
    head: str
    read_bytes: int
    read_parameters: int


def onnx_facts(graph: Path) -> Stored:
    """Read the matrices of a graph from its nodes; weights in other files are not opened."""
    model = onnx.load(graph, load_external_data=False)
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    matrices = [matrix for node in model.graph.node if (matrix := _matrix(node, initializers))]
    *body, head = matrices  # graphs are in the order of computation: the head is the last product
    return Stored(
        " + ".join(sorted({matrix.storage for matrix in body})),
        head.storage,
        sum(matrix.stored_bytes for matrix in matrices),
        sum(matrix.parameters for matrix in matrices),
    )


def safetensors_facts(file: Path) -> tuple[int, int]:
    """Bytes and parameters of the matrices in a safetensors file, position tables left out."""
    with file.open("rb") as raw:
        header = json.loads(raw.read(int.from_bytes(raw.read(8), "little")))
    header.pop("__metadata__", None)
    matrices = [entry for name, entry in header.items() if len(entry["shape"]) == 2 and "wpe" not in name]
    stored = sum(entry["data_offsets"][1] - entry["data_offsets"][0] for entry in matrices)
    return stored, sum(math.prod(entry["shape"]) for entry in matrices)


def _matrix(node: Any, initializers: dict[str, Any]) -> Matrix | None:
    stored = [initializers[name] for name in node.input if name in initializers]
    if node.op_type == "MatMulNBits":
        facts = {attribute.name: attribute.i for attribute in node.attribute}
        size = sum(map(_bytes, stored[:3]))  # weights, scales and zero points; a bias hardly counts
        storage = f"int{facts['bits']}, block {facts['block_size']}"
        return Matrix(storage, facts["N"], facts["N"] * facts["K"], size)
    if node.op_type in ("MatMul", "FusedMatMul", "Gemm"):
        weights = [tensor for tensor in stored if len(tensor.dims) == 2]
        if weights:
            name = {1: "fp32", 10: "fp16"}.get(weights[0].data_type, f"type {weights[0].data_type}")
            return Matrix(name, weights[0].dims[-1], math.prod(weights[0].dims), _bytes(weights[0]))
    return None


def _bytes(tensor: Any) -> int:
    width: int = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return width * int(math.prod(tensor.dims))
