"""What a way of converting hands to the rest of the export.

Owns the value that both ways, fused and universal, end in. Does not know how either gets there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from export.errors import ExportError
from handler.engine.bundle import Dims, Graph, Quantization

Float32 = NDArray[np.float32]
LogitsOf = Callable[[list[int]], Float32]  # ids -> logits [T, V]
RowsOf = Callable[[Sequence[list[int]], Sequence[range]], list[Float32]]  # texts, positions -> logits [., V]

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
    unquantized_rows: RowsOf  # the same for many texts at once, where logits are wanted
    stored: LogitsOf | None  # the same on the weights the graph holds; None where none was rounded


def context_tokens(trained: int, asked: int | None) -> int:
    """How many tokens the bundle may hold.

    Raises: ExportError when more is asked for than the model was trained on.
    """
    if asked is None:
        return min(trained, DEFAULT_CONTEXT_TOKENS)
    if not 2 <= asked <= trained:
        raise ExportError(f"--context: {asked}, must be from 2 to {trained}, what the model was trained on")
    return asked
