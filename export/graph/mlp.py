"""The feed-forward half of a layer in a graph, gated or not.

Owns the activations. Does not know what comes before or after it.
"""

from __future__ import annotations

from export.graph.facts import Decoder
from export.graph.matrices import Matrices
from export.graph.writer import MICROSOFT, GraphWriter


class FeedForward:
    """Writes each layer's MLP."""

    def __init__(self, graph: GraphWriter, facts: Decoder, matrices: Matrices) -> None:
        self._graph = graph
        self._activation_of = facts.activation
        self._matrices = matrices

    def compute(self, facts: Decoder, layer: int, number: int, x: str) -> str:
        """The MLP of one layer of a stack: [1, T, hidden]. `number` is the layer's in the graph."""
        name, part = f"layer.{number}.mlp", facts.tensors.mlp.at(layer)
        height = facts.intermediate * (2 if facts.gated else 1)
        inner = self._matrices.linear(f"{name}.input", x, part.input, height, facts.hidden)
        if facts.gated:
            gate, up = f"{name}.gate", f"{name}.up"
            self._graph.node("Split", [inner], [gate, up], axis=-1, num_outputs=2)
            inner = self._graph.node(
                "Mul", [self._activation(f"{name}.activated", gate), up], f"{name}.gated"
            )
        else:
            inner = self._activation(f"{name}.activated", inner)
        return self._matrices.linear(f"{name}.output", inner, part.output, facts.hidden, facts.intermediate)

    def _activation(self, name: str, x: str) -> str:
        if self._activation_of == "silu":  # x * sigmoid(alpha * x), in one pass
            return self._graph.node("QuickGelu", [x], name, MICROSOFT, alpha=1.0)
        return self._graph.node("FastGelu", [x], name, MICROSOFT)  # the tanh form
