"""The one skeleton of a decoder: facts and weights in, a fused graph with shared KV buffers out.

Owns the order of layers and the graph's inputs and outputs (the "shared" cache layout of the manifest).
Does not know families: what differs between them comes as facts.

Letters: T new tokens, R rows that get logits, M capacity of the KV buffers, H heads, K kv heads, D head dim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import TensorProto

from export.errors import UnsupportedFeature
from export.graph.facts import Decoder, Linear, Norm
from export.graph.matrices import Matrices, Matrix, Progress, Rounded
from export.graph.rope import rope_tables
from export.graph.stored import Placement, StoredTensors
from export.graph.writer import GRAPH_FILE, MICROSOFT, GraphWriter
from export.quantize import Recipe
from export.weights import Weights
from handler.engine.bundle import Graph

ROTARY_MULTIPLE = 16  # GroupQueryAttention's own rule

CONTRACT = Graph(
    file=GRAPH_FILE,
    cache="shared",
    input_ids="input_ids",
    logits="logits",
    past_key="past.{layer}.key",
    past_value="past.{layer}.value",
    present_key="present.{layer}.key",
    present_value="present.{layer}.value",
    rows="rows",
    seqlens="seqlens_k",
    total_length="total_sequence_length",
)


@dataclass(frozen=True)
class Built:
    """What a finished graph is, and where each tensor of the checkpoint lies in it."""

    graph: Graph
    parameters: int
    placements: Mapping[str, Placement]


def build(
    facts: Decoder,
    weights: Weights,
    recipe: Recipe,
    context_tokens: int,
    folder: Path,
    progress: Progress,
    rounded: Rounded | None = None,
) -> Built:
    """Write `model.onnx` and its data file into `folder`; what was not `rounded` before is rounded here.

    Raises: ExportError when a tensor is missing, misshapen, or has no place in the graph; UnsupportedFeature.
    """
    if facts.rope and facts.head_dim % ROTARY_MULTIPLE:
        raise UnsupportedFeature(
            f"head_dim: {facts.head_dim} is not supported, only multiples of {ROTARY_MULTIPLE}: "
            "ONNX Runtime's attention rotates no other"
        )
    graph = GraphWriter(folder)
    try:
        stored = StoredTensors(weights, facts.tensors.prefix)
        matrices = Matrices(graph, stored, recipe, progress, rounded)
        _Builder(graph, stored, facts, matrices).decoder(context_tokens)
        ignored = facts.tensors.ignored + (facts.tensors.head.weights if facts.tied else ())
        stored.check_all_used(ignored)
        graph.finish("decoder")
    finally:
        graph.close()
    contract = CONTRACT if facts.rope else _with_positions(CONTRACT)
    return Built(contract, stored.parameters, stored.placements)


def _with_positions(contract: Graph) -> Graph:
    return Graph(**{**vars(contract), "position_ids": "position_ids"})


class _Builder:
    """One graph under construction: adds one layer at a time, in the order they are computed."""

    def __init__(self, graph: GraphWriter, stored: StoredTensors, facts: Decoder, matrices: Matrices) -> None:
        self._graph = graph
        self._stored = stored
        self._facts = facts
        self._matrices = matrices
        self._rope: tuple[str, ...] = ()

    def decoder(self, context_tokens: int) -> None:
        """The whole model, from ids to logits."""
        facts, graph = self._facts, self._graph
        graph.input("input_ids", TensorProto.INT64, (1, "T"))
        graph.input("rows", TensorProto.INT64, ("R",))
        graph.input("seqlens_k", TensorProto.INT32, (1,))
        graph.input("total_sequence_length", TensorProto.INT32, ())
        graph.output("logits", TensorProto.FLOAT, (1, "R", facts.vocabulary))
        if facts.rope:
            cosines, sines = rope_tables(facts.rope, facts.head_dim, context_tokens)  # [context, D / 2] each
            self._rope = (
                graph.weight("rope.cosines", cosines.shape, [cosines]),
                graph.weight("rope.sines", sines.shape, [sines]),
            )
        head, residual = self._embedding()  # [1, T, hidden]
        normed = self._norm("layer.0.attention_norm", residual, facts.tensors.attention_norm.at(0))
        for layer in range(facts.layers):
            attended = self._attention(layer, normed)
            normed, residual = self._add_norm(
                f"layer.{layer}.mlp_norm", attended, residual, facts.tensors.mlp_norm.at(layer)
            )
            fed = self._mlp(layer, normed)
            if layer + 1 < facts.layers:
                name, norm = f"layer.{layer + 1}.attention_norm", facts.tensors.attention_norm.at(layer + 1)
            else:
                name, norm = "final_norm", facts.tensors.final_norm
            normed, residual = self._add_norm(name, fed, residual, norm)
        asked = graph.node("Gather", [normed, "rows"], "asked", axis=1)  # [1, R, hidden]
        self._matrices.product("logits", asked, head)  # [1, R, V]

    def _embedding(self) -> tuple[Matrix, str]:
        """The head's matrix and the embedded ids; tied, they are one matrix stored once."""
        facts, matrices = self._facts, self._matrices
        table = facts.tensors.embedding
        shape = facts.vocabulary, facts.hidden
        head = matrices.store(
            "head", Linear((table,)) if facts.tied else facts.tensors.head, *shape, is_table=True
        )
        if facts.tied:
            self._stored.placements[facts.tensors.head.weights[0]] = self._stored.placements[table]
        embedding = head
        if head.padded:  # rows that end in padding can be multiplied with, not looked up in
            embedding = matrices.store_plain("embedding", table, *shape)
        elif not facts.tied:
            embedding = matrices.store("embedding", Linear((table,)), *shape, is_table=True)
        embedded = matrices.lookup("embedded", "input_ids", embedding)
        if facts.tensors.positions is None:
            return head, embedded
        self._graph.input("position_ids", TensorProto.INT64, (1, "T"))
        learned = matrices.store_plain(
            "positions", facts.tensors.positions, facts.context_tokens, facts.hidden
        )
        placed = matrices.lookup("placed", "position_ids", learned)
        return head, self._graph.node("Add", [embedded, placed], "residual")

    def _attention(self, layer: int, x: str) -> str:
        """Self-attention of one layer over the cache and x, projected back: [1, T, hidden]."""
        facts, name = self._facts, f"layer.{layer}.attention"
        queries, keys = facts.heads * facts.head_dim, facts.kv_heads * facts.head_dim
        packed = self._linear(f"{name}.qkv", x, facts.tensors.qkv.at(layer), queries + 2 * keys, facts.hidden)
        inputs = [packed, "", ""]
        if facts.tensors.query_norm and facts.tensors.key_norm:
            inputs = self._normed_heads(
                name, packed, facts.tensors.query_norm.at(layer), facts.tensors.key_norm.at(layer)
            )
        past, present = [], []
        for part in ("key", "value"):
            shape = (1, facts.kv_heads, "M", facts.head_dim)
            past.append(self._graph.input(f"past.{layer}.{part}", TensorProto.FLOAT, shape))
            present.append(self._graph.output(f"present.{layer}.{part}", TensorProto.FLOAT, shape))
        attended = self._graph.node(
            "GroupQueryAttention",
            [*inputs, *past, "seqlens_k", "total_sequence_length", *self._rope],
            [f"{name}.heads", *present],
            MICROSOFT,
            num_heads=facts.heads,
            kv_num_heads=facts.kv_heads,
            do_rotary=int(facts.rope is not None),
        )
        return self._linear(
            f"{name}.output", attended, facts.tensors.attention_output.at(layer), facts.hidden, queries
        )

    def _normed_heads(self, name: str, packed: str, query_norm: Norm, key_norm: Norm) -> list[str]:
        """Queries and keys normed head by head, before attention rotates them; and the values."""
        facts, graph = self._facts, self._graph
        widths = [
            facts.heads * facts.head_dim,
            facts.kv_heads * facts.head_dim,
            facts.kv_heads * facts.head_dim,
        ]
        parts = [f"{name}.query", f"{name}.key", f"{name}.value"]
        sizes = graph.constant(f"{name}.widths", np.array(widths, np.int64))
        graph.node("Split", [packed, sizes], parts, axis=-1)
        normed = [
            self._head_norm(f"{part}.norm", part, norm, heads)
            for part, norm, heads in (
                (parts[0], query_norm, facts.heads),
                (parts[1], key_norm, facts.kv_heads),
            )
        ]
        return [*normed, parts[2]]

    def _head_norm(self, name: str, x: str, norm: Norm, heads: int) -> str:
        """Normalize each head of x [1, T, heads * D] by itself."""
        graph, width = self._graph, self._facts.head_dim
        split = graph.constant(f"{name}.split", np.array([0, 0, heads, width], np.int64))
        joined = graph.constant(f"{name}.joined", np.array([0, 0, heads * width], np.int64))
        each = graph.node("Reshape", [x, split], f"{name}.heads")  # [1, T, heads, D]
        weight = self._matrices.vector(f"{name}.weight", (norm.weight,), [width])
        epsilon = self._facts.norm_epsilon
        normed = graph.node(
            "SimplifiedLayerNormalization", [each, weight], f"{name}.normed", axis=-1, epsilon=epsilon
        )
        return graph.node("Reshape", [normed, joined], name)

    def _mlp(self, layer: int, x: str) -> str:
        """The feed-forward half of one layer: [1, T, hidden]."""
        facts, name = self._facts, f"layer.{layer}.mlp"
        height = facts.intermediate * (2 if facts.gated else 1)
        inner = self._linear(f"{name}.input", x, facts.tensors.mlp_input.at(layer), height, facts.hidden)
        if facts.gated:
            halves = [f"{name}.gate", f"{name}.up"]
            self._graph.node("Split", [inner], halves, axis=-1, num_outputs=2)
            inner = self._graph.node(
                "Mul", [self._activation(f"{name}.activated", halves[0]), halves[1]], f"{name}.gated"
            )
        else:
            inner = self._activation(f"{name}.activated", inner)
        return self._linear(
            f"{name}.output", inner, facts.tensors.mlp_output.at(layer), facts.hidden, facts.intermediate
        )

    def _activation(self, name: str, x: str) -> str:
        if self._facts.activation == "silu":  # x * sigmoid(alpha * x), in one pass
            return self._graph.node("QuickGelu", [x], name, MICROSOFT, alpha=1.0)
        return self._graph.node("FastGelu", [x], name, MICROSOFT)  # the tanh form

    def _linear(self, name: str, x: str, linear: Linear, height: int, width: int) -> str:
        matrix = self._matrices.store(f"{name}.weight", linear, height, width)
        return self._matrices.product(name, x, matrix, self._matrices.bias(f"{name}.bias", linear, width))

    def _norm(self, name: str, x: str, norm: Norm) -> str:
        """Normalize x [1, T, hidden]."""
        operator = "SimplifiedLayerNormalization" if self._facts.norm == "rms" else "LayerNormalization"
        inputs = [x, *self._norm_weights(name, norm)]
        return self._graph.node(operator, inputs, name, axis=-1, epsilon=self._facts.norm_epsilon)

    def _add_norm(self, name: str, x: str, residual: str, norm: Norm) -> tuple[str, str]:
        """Add x to the residual stream and normalize the sum; both come back, the normed one first."""
        rms = self._facts.norm == "rms"
        operator = "SkipSimplifiedLayerNormalization" if rms else "SkipLayerNormalization"
        total = f"{name}.residual"
        inputs = [x, residual, *self._norm_weights(name, norm)]
        self._graph.node(operator, inputs, [name, "", "", total], MICROSOFT, epsilon=self._facts.norm_epsilon)
        return name, total

    def _norm_weights(self, name: str, norm: Norm) -> list[str]:
        parts = {"weight": norm.weight, "bias": norm.bias}
        return [
            self._matrices.vector(f"{name}.{part}", (tensor,), [self._facts.hidden])
            for part, tensor in parts.items()
            if tensor is not None
        ]
