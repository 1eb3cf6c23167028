"""What a way of converting hands to the rest of the export, and what a model computes when it is judged.

Owns the value that both ways, fused and universal, end in. Does not know how either gets there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from export.errors import ExportError
from export.evaluate import Fidelity
from export.section import Section
from handler.engine.bundle import Dims, Graph, Quantization

Float32 = NDArray[np.float32]
RowsOf = Callable[[Sequence[list[int]], Sequence[range]], list[Float32]]  # texts, positions -> logits [., V]
Answers = Callable[[Sequence[list[int]], int, Collection[int]], list[list[int]]]
"""Prompts, how many ids at most, the ids that end an answer -> greedy answers, their ends included."""

WeightMeasure = Literal["scale", "value", "bits"]
"""Of a rounded block |scale - 1|, scale = <stored, own> / <own, own>; of a number that is not rounded the
difference, in parts of the tensor's root mean square; how many rows are not what was written."""

DEFAULT_CONTEXT_TOKENS = 8192  # where the model was trained on more
FEWEST_CONTEXT_TOKENS = 3  # a prompt, an answer, and the row that makes rows even


@dataclass(frozen=True)
class Past:
    """What stands before a text: made-up keys and values [K, S, D], the same for every layer."""

    keys: Float32
    values: Float32

    @property
    def length(self) -> int:
        """S."""
        return len(self.keys[0])


@dataclass(frozen=True)
class Computed:
    """What a model made of one text."""

    logits: Float32  # [T, V]
    kept: tuple[tuple[Float32, Float32], ...] = ()  # each layer's keys and values [K, T, D]; none: not told


Compute = Callable[[Sequence[Sequence[int]], Past | None], list[Computed]]  # texts, each behind the same past

Precisely = Callable[[Sequence[int], Past | None], tuple[Computed, list[Computed]]]
"""A text -> it in float64, and some times in float32, its embedded numbers moved in their last digit."""


@dataclass(frozen=True)
class WeightError:
    """How far one tensor as stored is from the checkpoint's, where it is furthest."""

    tensor: str
    error: float
    place: str
    measure: WeightMeasure


@dataclass(frozen=True)
class Converted:
    """A graph on disk, what it is, and the two models it is to be judged by."""

    way: Literal["fused", "universal"]
    graph: Graph
    dims: Dims
    context_tokens: int
    quantization: Quantization
    row_multiple: int
    unquantized: Compute  # transformers on the checkpoint's weights
    unquantized_rows: RowsOf  # the same for many texts at once, where logits are wanted
    unquantized_answers: Answers  # and what it answers
    stored: Compute | None  # the same on the weights the graph holds; None where none was rounded
    weight_errors: Callable[[], Iterator[WeightError]] | None = None  # None: the way keeps no ledger
    precise: Precisely | None = None  # what the values are compared with; None: there is no such run
    precision: Callable[[Fidelity], Section] | None = None  # what to say of the recipe, and of others


def context_tokens(trained: int, asked: int | None) -> int:
    """How many tokens the bundle may hold.

    Raises: ExportError when more is asked for than the model was trained on, or too few to answer in.
    """
    if asked is None:
        return min(trained, DEFAULT_CONTEXT_TOKENS)
    if not FEWEST_CONTEXT_TOKENS <= asked <= trained:
        allowed = f"from {FEWEST_CONTEXT_TOKENS} to {trained}, what the model was trained on"
        raise ExportError(f"--context: {asked}, must be {allowed}")
    return asked
