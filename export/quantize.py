"""Blockwise quantization: rows of a weight matrix into the codes and scales that MatMulNBits reads.

Owns the recipe, rounding to the nearest, the layout of codes and its inverse. The other rounding, `gptq`,
returns the same `Packed` and is in `export.rounding`. Does not know ONNX, or which layer a matrix belongs to.

Source: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MatMulNBits
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from export.errors import ExportError

Float32 = NDArray[np.float32]
RecipeName = Literal["int4", "int8", "fp32"]
Rounding = Literal["gptq", "nearest"]

SMALLEST_BLOCK = 16  # MatMulNBits' own floor
BLOCKS = (16, 32, 64, 128, 256)
# Of a row: 576 inputs in five blocks of 128 decode 5 % faster than in nine of 64 (docs/LOG.md).
MOST_PADDING = 1 / 8


@dataclass(frozen=True)
class Recipe:
    """How the weights of one bundle are stored."""

    name: RecipeName
    bits: int  # 32 = not quantized
    block: int = 128
    accuracy_level: int = 4  # 4 = activations in int8 by block, the fast kernels; 0 = float32
    rounding: Rounding = "nearest"

    @classmethod
    def named(cls, name: str, block: int = 128, rounding: str | None = None) -> Recipe:
        """The recipe of `--quant`, `--block` and `--rounding`; unasked, four bits are rounded by data."""
        if block not in BLOCKS:
            raise ExportError(f"--block: {block}, must be one of {', '.join(map(str, BLOCKS))}")
        bits = {"int4": 4, "int8": 8, "fp32": 32}
        if name not in bits:
            raise ExportError(f"--quant: {name!r}, must be one of {', '.join(bits)}")
        if name == "fp32" and rounding == "gptq":
            raise ExportError("--rounding: gptq, fp32 rounds nothing; use --quant int4 or int8")
        chosen = rounding or ("gptq" if name == "int4" else "nearest")
        return cls(name, bits[name], block, rounding=chosen)  # type: ignore[arg-type]

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


@dataclass(frozen=True)
class Packed:
    """Quantized rows: N rows of B = ceil(K / block) blocks."""

    codes: NDArray[np.uint8]  # [N, B, block * bits / 8]
    scales: Float32  # [N, B]


def quantize_rows(rows: Float32, bits: int, block: int) -> Packed:
    """Round each block to the nearest of 2^bits levels, symmetric about zero.

    The value of largest magnitude maps onto the code at the negative end exactly, as it is one step longer.

    Shapes: rows [N, K].
    """
    count, width = rows.shape
    blocks = -(-width // block)
    if blocks * block != width:
        rows = np.pad(rows, ((0, 0), (0, blocks * block - width)))
    values = rows.reshape(count, blocks, block)
    low, high = values.min(-1), values.max(-1)  # [N, B]
    middle = 1 << (bits - 1)
    scales = np.where(-low > high, low, high) / np.float32(-middle)
    inverse = np.divide(1, scales, out=np.zeros_like(scales), where=scales != 0)
    levels = values * inverse[..., None]
    np.rint(levels, out=levels)
    np.clip(levels, -middle, middle - 1, out=levels)
    levels += middle
    return Packed(pack_codes(levels.astype(np.uint8), bits), scales)


def pack_codes(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Codes [N, B, block] as stored: at four bits two a byte, the first in the low half."""
    return codes if bits != 4 else codes[..., 0::2] | (codes[..., 1::2] << np.uint8(4))


def dequantize_rows(packed: Packed, bits: int, width: int) -> Float32:
    """The float32 rows [N, width] that the codes and scales stand for."""
    codes = packed.codes
    if bits == 4:
        codes = np.stack([codes & 15, codes >> 4], axis=-1).reshape(*codes.shape[:-1], -1)
    values = codes.astype(np.float32)
    values -= 1 << (bits - 1)
    values *= packed.scales[..., None]
    return values.reshape(len(codes), -1)[:, :width]
