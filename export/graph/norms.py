"""Normalizations, and the residual stream that a model's parts read through them and add to.

Owns when an addition and the norm that follows it are one operator. Does not know what a part computes.
"""

from __future__ import annotations

from export.graph.facts import Decoder, Norm
from export.graph.matrices import Matrices
from export.graph.writer import MICROSOFT, GraphWriter


class Norms:
    """Writes the model's kind of normalization."""

    def __init__(self, graph: GraphWriter, facts: Decoder, matrices: Matrices) -> None:
        self._graph = graph
        self._matrices = matrices
        self._rms = facts.norm == "rms"
        self._epsilon = facts.norm_epsilon

    def apply(self, name: str, x: str, norm: Norm, width: int) -> str:
        """Normalize x [..., width] over its last axis."""
        operator = "SimplifiedLayerNormalization" if self._rms else "LayerNormalization"
        inputs = [x, *self._weights(name, norm, width)]
        return self._graph.node(operator, inputs, name, axis=-1, epsilon=self._epsilon)

    def apply_to_sum(self, name: str, x: str, y: str, norm: Norm, width: int) -> tuple[str, str]:
        """Add x and y and normalize the sum; both come back, the normed one first."""
        operator = "SkipSimplifiedLayerNormalization" if self._rms else "SkipLayerNormalization"
        total = f"{name}.residual"
        inputs = [x, y, *self._weights(name, norm, width)]
        self._graph.node(operator, inputs, [name, "", "", total], MICROSOFT, epsilon=self._epsilon)
        return name, total

    def apply_to_heads(self, name: str, x: str, norm: Norm, heads: int, head_dim: int) -> str:
        """Normalize queries or keys x [1, T, heads * D], each head by itself or all together."""
        graph = self._graph
        if not norm.each_head:
            return self.apply(name, x, norm, heads * head_dim)
        split = graph.int64(f"{name}.split", [0, 0, heads, head_dim])
        joined = graph.int64(f"{name}.joined", [0, 0, heads * head_dim])
        each = graph.node("Reshape", [x, split], f"{name}.heads")  # [1, T, heads, D]
        normed = self.apply(f"{name}.normed", each, norm, head_dim)
        return graph.node("Reshape", [normed, joined], name)

    def _weights(self, name: str, norm: Norm, width: int) -> list[str]:
        written = [self._matrices.vector(f"{name}.weight", (norm.weight,), [width], norm.offset)]
        if norm.bias is not None:
            written.append(self._matrices.vector(f"{name}.bias", (norm.bias,), [width]))
        return written


class Residual:
    """The residual stream [1, T, hidden]: what was added last waits for the norm that reads it."""

    def __init__(self, graph: GraphWriter, norms: Norms, start: str, width: int) -> None:
        self._graph = graph
        self._norms = norms
        self._sum = start
        self._waiting: str | None = None
        self._width = width

    def add(self, x: str) -> None:
        """Add what a part computed."""
        self._waiting = x

    def read(self, name: str, norm: Norm | None) -> str:
        """The stream as the next part sees it."""
        waiting, self._waiting = self._waiting, None
        if norm is None:
            if waiting is not None:
                self._sum = self._graph.node("Add", [waiting, self._sum], f"{name}.residual")
            return self._sum
        if waiting is None:
            return self._norms.apply(name, self._sum, norm, self._width)
        normed, self._sum = self._norms.apply_to_sum(name, waiting, self._sum, norm, self._width)
        return normed
