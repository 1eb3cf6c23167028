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

    def with_biases(self) -> Linear:
        """The same with a bias stored beside each weight."""
        biases = tuple(f"{name.removesuffix('weight')}bias" for name in self.weights)
        return dataclasses.replace(self, biases=biases)


@dataclass(frozen=True)
class Norm:
    """One normalization's stored tensors."""

    weight: str
    bias: str | None = None
    offset: float = 0.0  # added to the weight as stored: some store its distance from one
    each_head: bool = False  # of queries and keys: head by head, not all heads together

    def at(self, layer: int) -> Norm:
        """The same for one layer."""
        bias = self.bias and self.bias.format(layer=layer)
        return dataclasses.replace(self, weight=self.weight.format(layer=layer), bias=bias)


@dataclass(frozen=True)
class Part:
    """One half of a layer: it reads the residual stream, computes, and adds to the stream."""

    norm: Norm | None  # of what it reads
    input: Linear
    output: Linear
    post_norm: Norm | None = None  # of what it adds

    def at(self, layer: int) -> Part:
        """The same for one layer."""
        return Part(
            norm=self.norm and self.norm.at(layer),
            input=self.input.at(layer),
            output=self.output.at(layer),
            post_norm=self.post_norm and self.post_norm.at(layer),
        )

    def with_biases(self) -> Part:
        """The same with a bias for each of its matrices."""
        return dataclasses.replace(self, input=self.input.with_biases(), output=self.output.with_biases())


@dataclass(frozen=True)
class Tensors:
    """Which stored tensors play which role."""

    embedding: str
    attention: Part  # its input: queries, keys, values
    mlp: Part  # its input: gate then up, where the MLP is gated
    final_norm: Norm
    head: Linear
    positions: str | None = None  # learned position embeddings
    query_norm: Norm | None = None  # before the rotation
    key_norm: Norm | None = None
    ignored: tuple[str, ...] = ()  # patterns of stored tensors that carry no weight
    prefix: str = ""  # of every name but the head's; a checkpoint of the bare model lacks it

    @property
    def layers(self) -> str:
        """What transformers calls the list of layers."""
        return self.mlp.input.weights[0].partition(".{layer}")[0]


@dataclass(frozen=True)
class Rope:
    """Rotary position embedding."""

    theta: float
    scaling: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fraction: float = 1.0  # of each head that is rotated, from its start


@dataclass(frozen=True)
class Attention:
    """How one layer attends."""

    rope: Rope | None
    window: int | None = None  # the last so many positions, the query's own included; None: all
    scale: float | None = None  # of the scores; None: 1 / sqrt(D)
    softcap: float | None = None  # c in c * tanh(score / c)


@dataclass(frozen=True)
class Multipliers:
    """Constants that the model multiplies with on its way."""

    embedding: float = 1.0
    residual: float = 1.0  # of what each part adds
    logits: float = 1.0


@dataclass(frozen=True)
class Decoder:
    """All that the builder has to know of one model."""

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
    attention: tuple[Attention, ...]  # one for each layer
    tensors: Tensors
    multipliers: Multipliers = Multipliers()
    logit_softcap: float | None = None
    reader: Reader | None = None  # computes beside it, under the same head

    @property
    def layers(self) -> int:
        """L, a reader's not counted."""
        return len(self.attention)

    @property
    def stacks(self) -> tuple[Decoder, ...]:
        """It, and its reader where there is one: each by itself on its columns of the embedding."""
        return (self,) if self.reader is None else (self, self.reader.stack)

    @property
    def width(self) -> int:
        """Of the embedding and the head: what all stacks read and end in."""
        return sum(stack.hidden for stack in self.stacks)

    @property
    def matrix_parameters(self) -> int:
        """How many numbers the layers' matrices hold: one token costs as many multiplications."""
        attention = self.hidden * self.head_dim * 2 * (self.heads + self.kv_heads)
        own = self.layers * (attention + self.hidden * self.intermediate * (3 if self.gated else 2))
        return own + (self.reader.stack.matrix_parameters if self.reader else 0)

    def attending(self, **changes: Any) -> Decoder:
        """The same with every layer's attention changed."""
        changed = tuple(dataclasses.replace(each, **changes) for each in self.attention)
        return dataclasses.replace(self, attention=changed)

    def windowed(self, windows: tuple[int | None, ...]) -> Decoder:
        """The same with each layer's window."""
        pairs = zip(self.attention, windows, strict=True)
        changed = tuple(dataclasses.replace(each, window=window) for each, window in pairs)
        return dataclasses.replace(self, attention=changed)


@dataclass(frozen=True)
class Reader:
    """A second stack, whose stream begins with embedded pairs of tokens too.

    The row of the pair (a, b) is (a * multiplier + b) % rows; it is projected to the stream.
    """

    stack: Decoder
    table: str
    projection: str
    rows: int
    pair_width: int
    multiplier: int


@dataclass(frozen=True)
class Family:
    """Models that share one shape of block; `read` maps a config onto its facts, or refuses it by name."""

    name: str
    architectures: tuple[str, ...]
    read: Callable[[Config], Decoder]
