"""Blockwise rounding: what is stored is the nearest that the format can say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.errors import ExportError
from export.quantize import Recipe, dequantize_rows, quantize_rows


@given(
    seed=st.integers(0, 10_000),
    bits=st.sampled_from([4, 8]),
    block=st.sampled_from([16, 32, 128]),
    width=st.integers(1, 300),
    scale=st.floats(1e-4, 1e4),
)
def test_no_weight_moves_by_more_than_the_format_allows(
    seed: int, bits: int, block: int, width: int, scale: float
) -> None:
    """Every value is within half a step, or one step at the short end of the range, of what is stored."""
    rows = (np.random.default_rng(seed).standard_normal((5, width)) * scale).astype(np.float32)
    packed = quantize_rows(rows, bits, block)
    steps = np.abs(np.repeat(packed.scales, block, axis=1)[:, :width])
    error = np.abs(dequantize_rows(packed, bits, width) - rows)
    signed = rows / np.repeat(packed.scales, block, axis=1)[:, :width]
    limit = np.where(signed > (1 << (bits - 1)) - 1.5, 1.001, 0.501) * steps
    assert (error <= limit + 1e-6 * scale).all()


@pytest.mark.parametrize("bits", [4, 8])
def test_the_largest_of_a_block_is_kept_exactly(bits: int) -> None:
    """The value of largest magnitude, whichever its sign, comes back as it was."""
    rows = np.array([[0.5, -1.0, 0.25, 0.75] * 4, [0.5, 1.0, 0.25, -0.75] * 4], np.float32)
    back = dequantize_rows(quantize_rows(rows, bits, 16), bits, 16)
    assert back[0, 1] == -1.0
    assert back[1, 1] == 1.0


def test_a_block_of_zeros_stays_zero() -> None:
    """No division by zero, no other value."""
    rows = np.zeros((2, 32), np.float32)
    assert (dequantize_rows(quantize_rows(rows, 4, 16), 4, 32) == 0).all()


def test_two_codes_share_a_byte_the_first_in_its_low_half() -> None:
    """The layout that MatMulNBits reads."""
    rows = np.arange(-8, 8, dtype=np.float32)[None]
    codes = quantize_rows(rows, 4, 16).codes
    assert codes.tolist() == [[[0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE]]]


@pytest.mark.parametrize(
    ("width", "block", "of_table"),
    [(896, 128, 128), (576, 128, 64), (192, 64, 64), (144, 32, 16), (96, 32, 32), (40, 16, 16)],
)
def test_the_block_is_the_largest_that_pads_little(width: int, block: int, of_table: int) -> None:
    """128 where no more than an eighth of a row is padding, smaller where it must; tables are not padded."""
    recipe = Recipe.named("int4")
    assert (recipe.block_for(width), recipe.block_of_table(width)) == (block, of_table)


def test_a_block_that_no_kernel_reads_is_refused() -> None:
    """The message lists what is allowed."""
    with pytest.raises(ExportError, match="--block: 100, must be one of 16, 32, 64, 128, 256"):
        Recipe.named("int4", 100)


def test_a_block_for_what_is_not_rounded_is_refused() -> None:
    """As are the other ways to round; the default says nothing."""
    with pytest.raises(ExportError, match="--block: 32, fp32 rounds nothing; use --quant int4 or int8"):
        Recipe.named("fp32", 32)
    assert Recipe.named("fp32", 128) == Recipe.named("fp32")
