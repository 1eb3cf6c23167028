"""The other formats that a model could have been stored in: their sizes, and how coarse they are.

Owns the estimate: sizes are exact, coarseness is measured on some rows of some matrices, rounded to the
nearest. What that does to predictions is only told by a sweep.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.graph.facts import Decoder
from export.graph.stored import StoredTensors
from export.graph.writer import DATA_FILE, GRAPH_FILE
from export.mixed.units import Unit, quantized_of, size_bytes
from export.quantize import Recipe, dequantize_rows, quantize_rows
from export.weights import Weights
from handler.engine.bundle import PACKED_FILE, TEMPLATE_FILE, TOKENIZER_FILE

FORMATS = ((32, 128), (8, 128), (4, 32), (4, 64), (4, 128))  # bits, block
LOADED = (GRAPH_FILE, DATA_FILE, TOKENIZER_FILE, PACKED_FILE, TEMPLATE_FILE)
SAMPLED_ROWS = 64  # of a matrix


@dataclass(frozen=True)
class Alternative:
    """One format for all matrices."""

    bits: int
    block: int
    matrix_bytes: int
    error: float  # of weights, relative to their size: root mean square

    @property
    def name(self) -> str:
        """As it is asked for."""
        return "fp32" if self.bits == 32 else f"int{self.bits}, block {self.block}"


def alternatives_of(facts: Decoder, weights: Weights, base: Recipe) -> list[Alternative]:
    """Every format, the widest first; symmetric or not as `base` is."""
    sampled = _sampled(facts, weights, quantized_of(facts, base))
    found = []
    for bits, block in FORMATS:
        recipe = dataclasses.replace(base, name="int4", bits=bits, block=block, widened=frozenset())
        units = quantized_of(facts, recipe)
        if bits == 32:
            found.append(Alternative(32, block, sum(4 * unit.height * unit.width for unit in units), 0.0))
            continue
        errors = [_error(rows, unit, recipe) for unit, rows in sampled]
        found.append(Alternative(bits, block, size_bytes(units, recipe), float(np.sqrt(np.mean(errors)))))
    return found


def loaded_bytes(folder: Path) -> int:
    """What is read of a bundle to serve it: graph, weights, tokenizer."""
    return sum((folder / name).stat().st_size for name in LOADED if (folder / name).is_file())


def _sampled(facts: Decoder, weights: Weights, units: list[Unit]) -> list[tuple[Unit, NDArray[np.float32]]]:
    """Some rows of the matrices of the first, middle and last layer, and of the vocabulary's."""
    stored = StoredTensors(weights, facts.tensors.prefix)
    layers = {None, 0, facts.layers // 2, facts.layers - 1}
    found = []
    for unit in units:
        if unit.layer in layers:
            name = stored.find(unit.tensors[0])
            rows = weights.read(name).T if unit.transposed else next(weights.chunks(name))
            found.append((unit, np.ascontiguousarray(rows[:SAMPLED_ROWS])))
    return found


def _error(rows: NDArray[np.float32], unit: Unit, recipe: Recipe) -> float:
    """The mean square of what rounding changes, relative to the rows' own."""
    block = recipe.block_in(unit.width, is_table=unit.is_table)
    packed = quantize_rows(rows, recipe.bits, block, symmetric=recipe.symmetric)
    change = dequantize_rows(packed, recipe.bits, unit.width) - rows
    size = np.square(rows).mean()
    return float(np.square(change).mean() / size) if size else 0.0  # zeros stay zeros
