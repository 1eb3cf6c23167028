"""Blockwise quantization: rows of a weight matrix into the codes and scales that MatMulNBits reads.

Owns the recipe, rounding to the nearest, the layout of codes and its inverse. The other rounding, `gptq`,
returns the same `Packed` and is in `export.rounding`. Does not know ONNX, or which layer a matrix belongs to.

Source: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MatMulNBits
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from export.errors import ExportError

Float32 = NDArray[np.float32]
RecipeName = Literal["int4", "int8", "fp32", "mixed"]
Rounding = Literal["gptq", "nearest"]

WIDENED_BITS = 8
SMALLEST_BLOCK = 16  # MatMulNBits' own floor
BLOCKS = (16, 32, 64, 128, 256)
DEFAULT_BLOCK = 128
# Of a row: 576 inputs in five blocks of 128 decode 5 % faster than in nine of 64 (docs/LOG.md).
MOST_PADDING = 1 / 8


@dataclass(frozen=True)
class Recipe:
    """How the weights of one bundle are stored."""

    name: RecipeName
    bits: int  # 32 = not quantized
    block: int = DEFAULT_BLOCK
    accuracy_level: int = 4  # 4 = activations in int8 by block, the fast kernels; 0 = float32
    rounding: Rounding = "nearest"
    symmetric: bool = True  # the middle code is zero; else each block has a code of its own for it
    widened: frozenset[str] = frozenset()  # of `mixed`: the checkpoint's tensors that get eight bits

    @classmethod
    def named(
        cls, name: str, block: int = DEFAULT_BLOCK, rounding: str | None = None, *, symmetric: bool = True
    ) -> Recipe:
        """The recipe that the command line asks for; unasked, four bits are rounded by data."""
        if block not in BLOCKS:
            raise ExportError(f"--block: {block}, must be one of {', '.join(map(str, BLOCKS))}")
        bits = {"int4": 4, "int8": 8, "fp32": 32}
        if name not in bits:
            raise ExportError(f"--quant: {name!r}, must be one of {', '.join(bits)}")
        if name == "fp32" and rounding == "gptq":
            raise ExportError("--rounding: gptq, fp32 rounds nothing; use --quant int4 or int8")
        if name == "fp32" and block != DEFAULT_BLOCK:
            raise ExportError(f"--block: {block}, fp32 rounds nothing; use --quant int4 or int8")
        if name == "fp32" and not symmetric:
            raise ExportError("--asymmetric: fp32 rounds nothing; use --quant int4 or int8")
        chosen = rounding or ("gptq" if name == "int4" else "nearest")
        return cls(name, bits[name], block, rounding=chosen, symmetric=symmetric)  # type: ignore[arg-type]

    def widening(self, tensors: Iterable[str]) -> Recipe:
        """The same with these tensors of the checkpoint in eight bits."""
        widened = frozenset(tensors)
        return dataclasses.replace(self, name="mixed" if widened else self.name, widened=widened)

    def bits_of(self, tensor: str) -> int:
        """How many bits a weight of this tensor of the checkpoint gets."""
        return WIDENED_BITS if tensor in self.widened else self.bits

    @property
    def title(self) -> str:
        """The recipe in words."""
        if not self.quantized:
            return self.name
        return f"{self.name}, block {self.block}{'' if self.symmetric else ', asymmetric'}, {self.rounding}"

    @property
    def quantized(self) -> bool:
        """Whether weights are stored in blocks at all."""
        return self.bits < 32

    def block_for(self, width: int) -> int:
        """The block size for rows of `width`: the largest up to the recipe's whose padding is small.

        The last block of a row is padded where it is not full; larger blocks are faster all the same.
        """
        fitting = (b for b in reversed(BLOCKS) if b <= self.block and -width % b <= width * MOST_PADDING)
        return next(fitting, SMALLEST_BLOCK)

    def block_of_table(self, width: int) -> int:
        """The same for a matrix of the vocabulary, in which ids are looked up: it must divide the width.

        Where none does, the smallest, and the table cannot be looked up in.
        """
        return next((b for b in reversed(BLOCKS) if b <= self.block and width % b == 0), SMALLEST_BLOCK)

    def block_in(self, width: int, *, is_table: bool) -> int:
        """The block size for rows of `width`, of a matrix of the vocabulary or of any other."""
        return self.block_of_table(width) if is_table else self.block_for(width)


@dataclass(frozen=True)
class Packed:
    """Quantized rows: N rows of B = ceil(K / block) blocks."""

    codes: NDArray[np.uint8]  # [N, B, block * bits / 8]
    scales: Float32  # [N, B]
    zeros: NDArray[np.uint8] | None = None  # [N, B]: the code that stands for zero; None: the middle one


def quantize_rows(rows: Float32, bits: int, block: int, *, symmetric: bool = True) -> Packed:
    """Round each block to the nearest of 2^bits levels.

    Symmetric, the value of largest magnitude maps onto the code at the negative end exactly, as that is one
    step longer. Else the levels reach from the least to the largest value, zero being one of them.

    Shapes: rows [N, K].
    """
    count, width = rows.shape
    blocks = -(-width // block)
    if blocks * block != width:
        rows = np.pad(rows, ((0, 0), (0, blocks * block - width)))
    values = rows.reshape(count, blocks, block)
    low, high = values.min(-1), values.max(-1)  # [N, B]
    middle, top = 1 << (bits - 1), (1 << bits) - 1
    if symmetric:
        scales = np.where(-low > high, low, high) / np.float32(-middle)
    else:
        low, high = np.minimum(low, 0), np.maximum(high, 0)
        scales = (high - low) / np.float32(top)
    inverse = np.divide(1, scales, out=np.zeros_like(scales), where=scales != 0)
    zeros = np.full_like(scales, middle) if symmetric else np.rint(-low * inverse)
    levels = values * inverse[..., None]
    np.rint(levels, out=levels)
    levels += zeros[..., None]
    np.clip(levels, 0, top, out=levels)
    codes = pack_codes(levels.astype(np.uint8), bits)
    return Packed(codes, scales, None if symmetric else zeros.astype(np.uint8))


def pack_codes(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Codes [N, B, block] as stored: at four bits two a byte, the first in the low half."""
    return codes if bits != 4 else codes[..., 0::2] | (codes[..., 1::2] << np.uint8(4))


def pack_zeros(zeros: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Codes of zero [N, B] as stored: each row padded to whole bytes."""
    return pack_codes(np.pad(zeros, ((0, 0), (0, zeros.shape[1] * bits % 8 // bits))), bits)


def unpack_zeros(stored: NDArray[np.uint8], bits: int, blocks: int) -> NDArray[np.uint8]:
    """The inverse: [N, B]."""
    return _unpack_codes(stored, bits)[:, :blocks]


def _unpack_codes(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    if bits != 4:
        return codes
    return np.stack([codes & 15, codes >> 4], axis=-1).reshape(*codes.shape[:-1], -1)


def dequantize_rows(packed: Packed, bits: int, width: int) -> Float32:
    """The float32 rows [N, width] that the codes and scales stand for."""
    values = _unpack_codes(packed.codes, bits).astype(np.float32)
    values -= 1 << (bits - 1) if packed.zeros is None else packed.zeros[..., None]
    values *= packed.scales[..., None]
    return values.reshape(len(values), -1)[:, :width]
