"""What a way of converting hands to the rest of the export.

Owns the value that both ways, fused and universal, end in. Does not know how either gets there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from export.errors import ExportError
from export.evaluate import Fidelity
from export.section import Section
from handler.engine.bundle import Dims, Graph, Quantization

LogitsOf = Callable[[list[int]], NDArray[np.float32]]  # ids -> logits [T, V]

DEFAULT_CONTEXT_TOKENS = 8192  # where the model was trained on more


@dataclass(frozen=True)
class Converted:
    """A graph on disk, what it is, and the two models it is to be judged by."""

    way: Literal["fused", "universal"]
    graph: Graph
    dims: Dims
    context_tokens: int
    quantization: Quantization
    row_multiple: int
    unquantized: LogitsOf  # transformers on the checkpoint's weights
    stored: LogitsOf | None  # the same on the weights the graph holds; None where none was rounded
    precision: Callable[[Fidelity], Section] | None = None  # what to say of the recipe, and of others


def context_tokens(trained: int, asked: int | None) -> int:
    """How many tokens the bundle may hold.

    Raises: ExportError when more is asked for than the model was trained on.
    """
    if asked is None:
        return min(trained, DEFAULT_CONTEXT_TOKENS)
    if not 2 <= asked <= trained:
        raise ExportError(f"--context: {asked}, must be from 2 to {trained}, what the model was trained on")
    return asked
