"""Self-attention in a graph: queries, keys and values, their norms and rotations, the KV buffers.

Owns the one attention operator and what it can be told. Does not know what comes before or after it.

Source: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.GroupQueryAttention
"""

from __future__ import annotations

from typing import Any

from onnx import TensorProto

from export.errors import UnsupportedFeature
from export.graph.facts import Attention, Decoder, Rope
from export.graph.matrices import Matrices
from export.graph.norms import Norms
from export.graph.rope import rope_tables, rotated
from export.graph.writer import MICROSOFT, GraphWriter

ROTARY_MULTIPLE = 16  # GroupQueryAttention's own rule


def check_rotations(facts: Decoder) -> None:
    """Refuse, by name, heads that the operator does not rotate."""
    rule = f"only multiples of {ROTARY_MULTIPLE}: ONNX Runtime's attention rotates no other"
    for rope in (each.rope for each in facts.attention if each.rope):
        if facts.head_dim % ROTARY_MULTIPLE:
            raise UnsupportedFeature(f"head_dim: {facts.head_dim} is not supported, {rule}")
        if (width := rotated(rope, facts.head_dim)) % ROTARY_MULTIPLE:
            found = f"{rope.fraction}, or {width} of {facts.head_dim}"
            raise UnsupportedFeature(f"partial_rotary_factor: {found}, is not supported, {rule}")


class SelfAttention:
    """Writes each layer's attention; rotations that several layers share are stored once."""

    def __init__(
        self, graph: GraphWriter, facts: Decoder, matrices: Matrices, norms: Norms, context_tokens: int
    ) -> None:
        self._graph = graph
        self._head_dim = facts.head_dim
        self._matrices = matrices
        self._norms = norms
        self._tables: list[tuple[Rope, list[str]]] = []
        for each in facts.attention:
            if each.rope is not None and not self._tables_of(each.rope):
                self._write_tables(each.rope, context_tokens)

    def compute(self, facts: Decoder, layer: int, number: int, x: str) -> str:
        """Attention of one layer of a stack over the cache and x, projected back: [1, T, hidden].

        `number` is the layer's in the graph.
        """
        name, part = f"layer.{number}.attention", facts.tensors.attention.at(layer)
        queries, keys = facts.heads * facts.head_dim, facts.kv_heads * facts.head_dim
        packed = self._matrices.linear(f"{name}.qkv", x, part.input, queries + 2 * keys, facts.hidden)
        past, present = [], []
        inputs = self._normed(facts, name, layer, packed)
        for half in ("key", "value"):
            shape = (1, facts.kv_heads, "M", facts.head_dim)
            past.append(self._graph.input(f"past.{number}.{half}", TensorProto.FLOAT, shape))
            present.append(self._graph.output(f"present.{number}.{half}", TensorProto.FLOAT, shape))
        attention = facts.attention[layer]
        tables = self._tables_of(attention.rope) if attention.rope else []
        attended = self._graph.node(
            "GroupQueryAttention",
            [*inputs, *past, "seqlens_k", "total_sequence_length", *tables],
            [f"{name}.heads", *present],
            MICROSOFT,
            num_heads=facts.heads,
            kv_num_heads=facts.kv_heads,
            do_rotary=int(attention.rope is not None),
            **_told(attention),
        )
        return self._matrices.linear(f"{name}.output", attended, part.output, facts.hidden, queries)

    def _normed(self, facts: Decoder, name: str, layer: int, packed: str) -> list[str]:
        """Queries, keys and values: packed in one where no norm stands between them and the rotation."""
        graph = self._graph
        query_norm, key_norm = facts.tensors.query_norm, facts.tensors.key_norm
        if query_norm is None or key_norm is None:
            return [packed, "", ""]
        heads = (facts.heads, facts.kv_heads, facts.kv_heads)
        query, key, value = (f"{name}.{part}" for part in ("query", "key", "value"))
        widths = graph.int64(f"{name}.widths", [count * facts.head_dim for count in heads])
        graph.node("Split", [packed, widths], [query, key, value], axis=-1)
        return [
            *(
                self._norms.apply_to_heads(f"{x}.norm", x, norm.at(layer), count, facts.head_dim)
                for x, norm, count in zip((query, key), (query_norm, key_norm), heads, strict=False)
            ),
            value,
        ]

    def _write_tables(self, rope: Rope, context_tokens: int) -> None:
        prefix = f"rope.{len(self._tables)}" if self._tables else "rope"
        cosines, sines = rope_tables(rope, self._head_dim, context_tokens)
        names = [
            self._graph.weight(f"{prefix}.{name}", table.shape, [table])
            for name, table in (("cosines", cosines), ("sines", sines))
        ]
        self._tables.append((rope, names))

    def _tables_of(self, rope: Rope) -> list[str]:
        return next((names for known, names in self._tables if known == rope), [])


def _told(attention: Attention) -> dict[str, Any]:
    """The operator's attributes for what differs from its defaults."""
    told = {
        "local_window_size": attention.window,
        "scale": attention.scale,
        "softcap": attention.softcap,
    }
    return {name: value for name, value in told.items() if value is not None}
