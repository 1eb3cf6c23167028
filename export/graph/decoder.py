"""The one skeleton of a decoder: facts and weights in, a fused graph with shared KV buffers out.

Owns the order of parts and the graph's inputs and outputs (the "shared" cache layout of the manifest). Does
not know families, what differs between them comes as facts; nor how a part computes.

Letters: T new tokens, R rows that get logits, M capacity of the KV buffers, H heads, K kv heads, D head dim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from onnx import TensorProto

from export.graph.attention import SelfAttention, check_rotations
from export.graph.facts import Decoder, Linear, Reader
from export.graph.matrices import Matrices, Matrix, Progress, Rounded
from export.graph.mlp import FeedForward
from export.graph.norms import Norms, Residual
from export.graph.stored import Placement, StoredTensors
from export.graph.writer import GRAPH_FILE, GraphWriter
from export.quantize import Recipe
from export.weights import Weights
from handler.engine.bundle import Graph

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
    check_rotations(facts)
    graph = GraphWriter(folder)
    try:
        stored = StoredTensors(weights, facts.tensors.prefix)
        matrices = Matrices(graph, stored, recipe, progress, rounded)
        _Builder(graph, stored, facts, matrices, context_tokens).decoder()
        ignored = facts.tensors.ignored + (facts.tensors.head.weights if facts.tied else ())
        stored.check_all_used(ignored)
        graph.finish("decoder")
    finally:
        graph.close()
    contract = replace(
        CONTRACT,
        position_ids="position_ids" if facts.tensors.positions else None,
        previous_id="previous_id" if facts.reader else None,
    )
    return Built(contract, stored.parameters, stored.placements)


class _Builder:
    """One graph under construction: adds one part at a time, in the order they are computed."""

    def __init__(
        self,
        graph: GraphWriter,
        stored: StoredTensors,
        facts: Decoder,
        matrices: Matrices,
        context_tokens: int,
    ) -> None:
        self._graph = graph
        self._stored = stored
        self._facts = facts
        self._matrices = matrices
        self._norms = Norms(graph, facts, matrices)
        self._attention = SelfAttention(graph, facts, matrices, self._norms, context_tokens)
        self._mlp = FeedForward(graph, facts, matrices)

    def decoder(self) -> None:
        """The whole model, from ids to logits."""
        facts, graph = self._facts, self._graph
        graph.input("input_ids", TensorProto.INT64, (1, "T"))
        graph.input("rows", TensorProto.INT64, ("R",))
        graph.input("seqlens_k", TensorProto.INT32, (1,))
        graph.input("total_sequence_length", TensorProto.INT32, ())
        graph.output("logits", TensorProto.FLOAT, (1, "R", facts.vocabulary))
        head, embedded = self._embedding()
        final = self._through(facts, embedded, 0) if facts.reader is None else self._both(embedded)
        asked = graph.node("Gather", [final, "rows"], "asked", axis=1)  # [1, R, width]
        self._logits(graph.scaled("asked_scaled", asked, facts.multipliers.logits), head)

    def _through(self, stack: Decoder, embedded: str, first: int) -> str:
        """A stack's layers and its final norm: [1, T, hidden]; the graph numbers them from `first`."""
        graph, norms, prefix = self._graph, self._norms, "reader_" if first else ""
        stream = Residual(graph, norms, embedded, stack.hidden)
        for layer in range(stack.layers):
            for kind, part, compute in (
                ("attention", stack.tensors.attention.at(layer), self._attention.compute),
                ("mlp", stack.tensors.mlp.at(layer), self._mlp.compute),
            ):
                name = f"layer.{first + layer}.{kind}"
                added = compute(stack, layer, first + layer, stream.read(f"{name}_norm", part.norm))
                if part.post_norm is not None:
                    added = norms.apply(f"{name}_post_norm", added, part.post_norm, stack.hidden)
                stream.add(graph.scaled(f"{name}_scaled", added, stack.multipliers.residual))
        return stream.read(f"{prefix}final_norm", stack.tensors.final_norm)

    def _both(self, embedded: str) -> str:
        """The model's and its reader's final states, side by side: [1, T, width]."""
        graph, facts, reader = self._graph, self._facts, self._facts.reader
        assert reader is not None
        widths = graph.int64("widths", [stack.hidden for stack in facts.stacks])
        graph.node("Split", [embedded, widths], ["embedded.own", "embedded.reader"], axis=-1)
        read = graph.node("Add", ["embedded.reader", self._pairs(reader)], "embedded.read")
        ends = [self._through(facts, "embedded.own", 0), self._through(reader.stack, read, facts.layers)]
        return graph.node("Concat", ends, "final", axis=-1)

    def _pairs(self, reader: Reader) -> str:
        """What the pairs that the ids make with those before them add to the reader's stream."""
        graph, matrices, width = self._graph, self._matrices, reader.pair_width
        graph.input("previous_id", TensorProto.INT64, (1, 1))
        table = matrices.store("pairs", Linear((reader.table,)), reader.rows, width, is_table=True)
        projection = matrices.store_plain("pairs.projection", reader.projection, reader.stack.hidden, width)
        ids = graph.node("Concat", ["previous_id", "input_ids"], "pairs.ids", axis=1)  # [1, 1 + T]
        ends = [graph.int64(f"pairs.{name}", [at]) for name, at in (("first", 0), ("last", -1), ("axis", 1))]
        before = graph.node("Slice", [ids, *ends], "pairs.before")  # [1, T]
        multiplier = graph.constant("pairs.multiplier", np.array(reader.multiplier, np.int64))
        rows = graph.constant("pairs.rows", np.array(reader.rows, np.int64))
        spread = graph.node("Mul", [before, multiplier], "pairs.spread")
        number = graph.node("Mod", [graph.node("Add", [spread, "input_ids"], "pairs.sum"), rows], "pairs.row")
        return matrices.product("pairs.added", matrices.lookup("pairs.embedded", number, table), projection)

    def _logits(self, asked: str, head: Matrix) -> None:
        """Logits [1, R, V] of the rows asked for, capped where the model caps them."""
        graph, cap = self._graph, self._facts.logit_softcap
        if cap is None:
            self._matrices.product("logits", asked, head)
            return
        limit = graph.constant("logits.limit", np.array(cap, np.float32))
        parts = graph.node("Div", [self._matrices.product("logits.raw", asked, head), limit], "logits.parts")
        graph.node("Mul", [graph.node("Tanh", [parts], "logits.bounded"), limit], "logits")

    def _embedding(self) -> tuple[Matrix, str]:
        """The head's matrix and the embedded ids [1, T, hidden]; tied, they are one matrix stored once."""
        facts, matrices = self._facts, self._matrices
        table = facts.tensors.embedding
        shape = facts.vocabulary, facts.width
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
        embedded = self._graph.scaled("embedded_scaled", embedded, facts.multipliers.embedding)
        if facts.tensors.positions is None:
            return head, embedded
        self._graph.input("position_ids", TensorProto.INT64, (1, "T"))
        learned = matrices.store_plain(
            "positions", facts.tensors.positions, facts.context_tokens, facts.hidden
        )
        placed = matrices.lookup("placed", "position_ids", learned)
        return head, self._graph.node("Add", [embedded, placed], "residual")
