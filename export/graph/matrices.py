"""Weight matrices in a graph: stored once by the recipe, then multiplied with or looked up in.

Owns the layout of quantized weights and the operators that read it. Does not know which layer a matrix is of.

Source: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from export.errors import ExportError
from export.graph.facts import Linear
from export.graph.stored import Placement, StoredTensors
from export.graph.writer import MICROSOFT, GraphWriter
from export.quantize import Packed, Recipe, pack_zeros, quantize_rows

Float32 = NDArray[np.float32]
Progress = Callable[[int], None]  # told how many parameters were just written

# A quantized matrix `name` is these initializers; the last only where zero is not the middle code.
CODES, SCALES, ZEROS = ".codes", ".scales", ".zeros"


class Rounded(Protocol):
    """Matrices that were rounded before, by the checkpoint's names."""

    def packed(self, name: str) -> Iterator[Packed]:
        """One matrix' rows of outputs, some at a time."""


@dataclass(frozen=True)
class Matrix:
    """A matrix in the graph, [height, width]; `block` is None where it is not quantized."""

    name: str
    height: int
    width: int
    block: int | None
    bits: int = 32

    @property
    def padded(self) -> bool:
        """Whether the last block of each row is filled up."""
        return self.block is not None and self.width % self.block != 0


class Matrices:
    """Writes matrices and their uses into a graph, the weights read from a checkpoint."""

    def __init__(
        self,
        graph: GraphWriter,
        stored: StoredTensors,
        recipe: Recipe,
        progress: Progress,
        rounded: Rounded | None = None,  # else to the nearest, here
    ) -> None:
        self._graph = graph
        self._stored = stored
        self._recipe = recipe
        self._rounded = rounded
        self._progress = progress

    def store(self, name: str, linear: Linear, height: int, width: int, *, is_table: bool = False) -> Matrix:
        """Write the stacked matrices of `linear` as one, by the recipe; `is_table`: of the vocabulary's rows.

        Raises: ExportError when the checkpoint's shapes are not these.
        """
        heights = self._stored.heights(linear, width)
        if sum(heights) != height:
            raise ExportError(
                f"tensor {' + '.join(linear.weights)}: {sum(heights)} outputs, config.json says {height}"
            )
        quantized = self._recipe.quantized
        bits = self._recipe.bits_of(linear.weights[0])  # what is stacked is one matrix
        self._stored.place(linear, name, width, bits if quantized else None)
        if not quantized:
            self._graph.weight(name, (height, width), self._counted(self._stored.rows(linear)))
            return Matrix(name, height, width, None)
        block = self._recipe.block_in(width, is_table=is_table)
        scales: list[Float32] = []  # small; written when all codes are on disk
        zeros: list[NDArray[np.uint8]] = []

        def codes() -> Iterator[NDArray[np.uint8]]:
            for tensor, packed in self._packed(linear, width, block, bits):
                self._stored.placements[tensor].written.add(packed)
                scales.append(packed.scales)
                if packed.zeros is not None:
                    zeros.append(pack_zeros(packed.zeros, bits))
                yield packed.codes

        blocks = -(-width // block)
        self._graph.weight(name + CODES, (height, blocks, block * bits // 8), codes())
        self._graph.weight(name + SCALES, (height, blocks), scales)
        if not self._recipe.symmetric:
            self._graph.weight(name + ZEROS, (height, -(-blocks * bits // 8)), zeros)
        return Matrix(name, height, width, block, bits)

    def store_plain(self, name: str, tensor: str, height: int, width: int) -> Matrix:
        """Write one stored matrix in float32, whatever the recipe."""
        self._stored.placements[tensor] = Placement(name, 0, height)
        self._graph.weight(name, (height, width), self._counted(self._stored.table(tensor, (height, width))))
        return Matrix(name, height, width, None)

    def product(self, output: str, x: str, matrix: Matrix, bias: str = "") -> str:
        """x [..., width] times the matrix's transpose, plus the bias: [..., height]."""
        if matrix.block is None:
            # FusedMatMul reads rows as stored: a tied embedding shares the bytes, nothing is turned on disk.
            product = f"{output}.product" if bias else output
            self._graph.node("FusedMatMul", [x, matrix.name], product, MICROSOFT, transB=1)
            return self._graph.node("Add", [product, bias], output) if bias else output
        inputs = [x, matrix.name + CODES, matrix.name + SCALES, *self._zeros(matrix)]
        if bias:
            inputs += [""] * (5 - len(inputs)) + [bias]  # no group index
        return self._graph.node(
            "MatMulNBits",
            inputs,
            output,
            MICROSOFT,
            K=matrix.width,
            N=matrix.height,
            bits=matrix.bits,
            block_size=matrix.block,
            accuracy_level=self._recipe.accuracy_level,
        )

    def lookup(self, output: str, ids: str, matrix: Matrix) -> str:
        """The matrix's rows for ids [1, T]: [1, T, width]. A padded matrix cannot be looked up in."""
        if matrix.block is None:
            return self._graph.node("Gather", [matrix.name, ids], output)
        # The same bytes as MatMulNBits reads, seen as one row of codes per id.
        row_bytes = matrix.width * matrix.bits // 8
        codes = self._graph.alias(f"{output}{CODES}", matrix.name + CODES, (matrix.height, row_bytes))
        return self._graph.node(
            "GatherBlockQuantized",
            [codes, ids, matrix.name + SCALES, *self._zeros(matrix)],
            output,
            MICROSOFT,
            bits=matrix.bits,
            block_size=matrix.block,
            gather_axis=0,
            quantize_axis=1,
        )

    def linear(self, name: str, x: str, linear: Linear, height: int, width: int) -> str:
        """Write a matrix and its biases, and x [..., width] times them: [..., height]."""
        matrix = self.store(f"{name}.weight", linear, height, width)
        return self.product(name, x, matrix, self.bias(f"{name}.bias", linear, width))

    def vector(self, name: str, parts: tuple[str, ...], lengths: list[int], offset: float = 0.0) -> str:
        """Write stored vectors, one after the other, as one, with `offset` added."""
        start = 0
        for part, length in zip(parts, lengths, strict=True):
            self._stored.placements[part] = Placement(name, start, start + length, offset=offset)
            start += length
        chunks = (
            self._stored.vector(part, length) + np.float32(offset)
            for part, length in zip(parts, lengths, strict=True)
        )
        return self._graph.weight(name, (start,), self._counted(chunks))

    def bias(self, name: str, linear: Linear, width: int) -> str:
        """Write the biases of `linear` as one vector; empty where it has none."""
        if not linear.biases:
            return ""
        return self.vector(name, linear.biases, self._stored.heights(linear, width))

    def _zeros(self, matrix: Matrix) -> list[str]:
        return [] if self._recipe.symmetric else [matrix.name + ZEROS]

    def _packed(self, linear: Linear, width: int, block: int, bits: int) -> Iterator[tuple[str, Packed]]:
        """The rounded rows of the stacked matrices, each with its tensor's name."""
        for name in linear.weights:
            if self._rounded is None:
                alone = dataclasses.replace(linear, weights=(name,))
                for chunk in self._counted(self._stored.rows(alone)):
                    yield name, quantize_rows(chunk, bits, block, symmetric=self._recipe.symmetric)
                continue
            for packed in self._rounded.packed(name):
                yield name, packed
                self._progress(len(packed.codes) * width)

    def _counted(self, chunks: Iterator[Float32]) -> Iterator[Float32]:
        for chunk in chunks:
            yield chunk
            self._progress(chunk.size)
