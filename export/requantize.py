"""Quantizes the matrix products of a finished ONNX graph in place, and puts their dequantized twins back.

Owns the rewriting of MatMul and Gemm nodes on constant matrices into MatMulNBits. Does not know the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from export.graph.matrices import CODES, SCALES, ZEROS
from export.graph.writer import MICROSOFT, MICROSOFT_OPSET
from export.quantize import Packed, Recipe, dequantize_rows, pack_zeros, quantize_rows


@dataclass(frozen=True)
class Rewritten:
    """One product that was quantized: the node as it was, the weights as they are."""

    index: int
    original: Any
    packed: Packed
    width: int
    transposed: bool  # the matrix was stored [in, out]


def quantize_graph(model: Any, recipe: Recipe) -> list[Rewritten]:
    """Turn every product with a constant matrix into MatMulNBits; the others stay as they are."""
    graph = model.graph
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    rewritten = []
    for index, node in enumerate(graph.node):
        transposed = _stored_transposed(node)
        tensor = initializers.get(node.input[1]) if transposed is not None else None
        if tensor is None or len(tensor.dims) != 2:
            continue
        matrix: NDArray[np.float32] = numpy_helper.to_array(tensor)
        rows = np.ascontiguousarray(matrix.T if transposed else matrix)  # [N, K]
        block = recipe.block_for(rows.shape[1])
        packed = quantize_rows(rows, recipe.bits, block, symmetric=recipe.symmetric)
        rewritten.append(Rewritten(index, type(node)(), packed, rows.shape[1], bool(transposed)))
        rewritten[-1].original.CopyFrom(node)
        name = f"{node.input[1]}.{index}"
        graph.initializer.append(numpy_helper.from_array(packed.codes, name + CODES))
        graph.initializer.append(numpy_helper.from_array(packed.scales, name + SCALES))
        if packed.zeros is not None:
            zeros = pack_zeros(packed.zeros, recipe.bits)
            graph.initializer.append(numpy_helper.from_array(zeros, name + ZEROS))
        node.CopyFrom(_product(node, name, rows.shape, recipe))
    _drop_unused(graph)
    if not any(opset.domain == MICROSOFT for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid(MICROSOFT, MICROSOFT_OPSET))
    return rewritten


def restore_graph(model: Any, rewritten: list[Rewritten], recipe: Recipe) -> None:
    """Put the original products back, on matrices made of the stored codes and scales."""
    graph = model.graph
    for one in rewritten:
        rows = dequantize_rows(one.packed, recipe.bits, one.width)
        name = f"{one.original.input[1]}.{one.index}.dequantized"
        matrix = np.ascontiguousarray(rows.T if one.transposed else rows)
        graph.initializer.append(numpy_helper.from_array(matrix, name))
        graph.node[one.index].CopyFrom(one.original)
        graph.node[one.index].input[1] = name
    _drop_unused(graph)


def _stored_transposed(node: Any) -> bool | None:
    """Whether the node's matrix lies [in, out]; None where the node is no plain product."""
    if node.op_type == "MatMul":
        return True
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    plain = given.get("alpha", 1.0) == 1.0 and given.get("beta", 1.0) == 1.0 and not given.get("transA", 0)
    if node.op_type != "Gemm" or not plain:
        return None
    return not given.get("transB", 0)


def _product(node: Any, name: str, shape: tuple[int, ...], recipe: Recipe) -> Any:
    height, width = shape
    inputs = [node.input[0], name + CODES, name + SCALES]
    if not recipe.symmetric:
        inputs.append(name + ZEROS)
    if len(node.input) > 2 and node.input[2]:
        inputs += [""] * (5 - len(inputs)) + [node.input[2]]
    return helper.make_node(
        "MatMulNBits",
        inputs,
        list(node.output),
        name=node.name,
        domain=MICROSOFT,
        K=width,
        N=height,
        bits=recipe.bits,
        block_size=recipe.block_for(width),
        accuracy_level=recipe.accuracy_level,
    )


def _drop_unused(graph: Any) -> None:
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
