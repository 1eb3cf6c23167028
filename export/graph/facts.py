"""The vocabulary in which a family of models is declared: facts as data, no code that builds anything.

A family module maps the fields of `config.json` and the names of stored tensors onto a `Decoder`; the one
builder in `decoder.py` turns any `Decoder` into a graph. Does not know ONNX or where weights come from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from export.config import Config


@dataclass(frozen=True)
class Linear:
    """One matrix product. Several stored matrices may be stacked into it along the output axis.

    Names hold `{layer}` where the layer's index goes.
    """

    weights: tuple[str, ...]
    biases: tuple[str, ...] = ()  # none, or one for each of `weights`
    transposed: bool = False  # stored [in, out], as GPT-2's Conv1D does, instead of [out, in]

    def at(self, layer: int) -> Linear:
        """The same for one layer."""
        fill = lambda names: tuple(name.format(layer=layer) for name in names)  # noqa: E731
        return dataclasses.replace(self, weights=fill(self.weights), biases=fill(self.biases))


@dataclass(frozen=True)
class Norm:
    """One normalization's stored tensors."""

    weight: str
    bias: str | None = None

    def at(self, layer: int) -> Norm:
        """The same for one layer."""
        return Norm(self.weight.format(layer=layer), self.bias and self.bias.format(layer=layer))


@dataclass(frozen=True)
class Tensors:
    """Which stored tensors play which role."""

    embedding: str
    attention_norm: Norm
    qkv: Linear  # queries, keys, values
    attention_output: Linear
    mlp_norm: Norm
    mlp_input: Linear  # gate then up, where the MLP is gated
    mlp_output: Linear
    final_norm: Norm
    head: Linear
    positions: str | None = None  # learned position embeddings
    query_norm: Norm | None = None  # over each head, before the rotation
    key_norm: Norm | None = None
    ignored: tuple[str, ...] = ()  # patterns of stored tensors that carry no weight
    prefix: str = ""  # of every name but the head's; a checkpoint of the bare model lacks it


@dataclass(frozen=True)
class Rope:
    """Rotary position embedding over the whole head."""

    theta: float
    scaling: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Decoder:
    """All that the builder has to know of one model."""

    layers: int  # L
    heads: int  # H
    kv_heads: int  # K
    head_dim: int  # D
    hidden: int
    intermediate: int
    vocabulary: int  # V
    context_tokens: int  # as trained
    norm: Literal["rms", "layer"]
    norm_epsilon: float
    activation: Literal["silu", "gelu_tanh"]
    gated: bool
    tied: bool  # the head is the embedding
    rope: Rope | None
    tensors: Tensors

    @property
    def matrix_parameters(self) -> int:
        """How many numbers the layers' matrices hold: one token costs as many multiplications."""
        attention = self.hidden * self.head_dim * 2 * (self.heads + self.kv_heads)
        return self.layers * (attention + self.hidden * self.intermediate * (3 if self.gated else 2))


@dataclass(frozen=True)
class Family:
    """Models that share one shape of block; `read` maps a config onto its facts, or refuses it by name."""

    name: str
    architectures: tuple[str, ...]
    read: Callable[[Config], Decoder]
