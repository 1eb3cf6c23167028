"""GPTQ: codes in the common format, and less error where inputs go together than rounding to the nearest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from export.quantize import dequantize_rows, quantize_rows
from export.rounding.gptq import moments, moments_of, refit, round_rows, search_scales

BLOCK = 32


def correlated(tokens: int, width: int, seed: int = 0) -> Any:
    """Inputs that mostly lie in a quarter of their dimensions, as those of a trained model do."""
    random = torch.Generator().manual_seed(seed)
    few = torch.randn(tokens, width // 4, generator=random) @ torch.randn(width // 4, width, generator=random)
    return few + 0.1 * torch.randn(tokens, width, generator=random)


def matrix(height: int, width: int, seed: int = 1) -> Any:
    return torch.randn(height, width, generator=torch.Generator().manual_seed(seed))


def output_error(inputs: Any, rows: Any, stored: Any) -> float:
    return float(torch.linalg.norm(inputs @ (rows - torch.from_numpy(stored)).T))


@pytest.mark.parametrize(("bits", "gain"), [(4, 0.6), (8, 0.6)])
def test_outputs_are_closer_than_those_of_rounding_to_the_nearest(bits: int, gain: float) -> None:
    """On inputs not used for rounding, the outputs' error is less than 0.6 of the nearest's."""
    rows, inputs = matrix(48, 128), correlated(1100, 128)
    used, other = inputs[:1000], inputs[1000:]
    packed = round_rows(rows, moments_of(used, BLOCK), bits)
    found = output_error(other, rows, dequantize_rows(packed, bits, 128))
    nearest = dequantize_rows(quantize_rows(rows.numpy(), bits, BLOCK), bits, 128)
    assert found < gain * output_error(other, rows, nearest)


@pytest.mark.parametrize(("width", "block"), [(128, 128), (96, 32), (40, 16)])
@pytest.mark.parametrize("bits", [4, 8])
def test_the_format_is_that_of_rounding_to_the_nearest(width: int, block: int, bits: int) -> None:
    """The same shapes and types, padded rows included."""
    rows = matrix(5, width)
    found = round_rows(rows, moments_of(correlated(300, width), block), bits)
    nearest = quantize_rows(rows.numpy(), bits, block)
    for one, other in ((found.codes, nearest.codes), (found.scales, nearest.scales)):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
    assert dequantize_rows(found, bits, width).shape == (5, width)


def test_inputs_that_do_not_go_together_leave_rounding_to_the_nearest() -> None:
    """With identity moments each weight gets the nearest level of its scale."""
    rows, inputs = matrix(7, 64), moments(torch.eye(64), BLOCK, 0.01)
    scales = search_scales(rows, inputs, 4)[0].repeat_interleave(BLOCK, 1)
    expected = (rows / scales).round().clamp(-8, 7) * scales
    found = dequantize_rows(round_rows(rows, inputs, 4), 4, 64)
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-6)


def test_codes_are_those_of_gptq_as_it_was_published() -> None:
    """Column after column by the inverse of M, what is left of M eliminated each time, in float64."""
    rows, inputs = matrix(6, 64), moments_of(correlated(500, 64), BLOCK)
    scales = search_scales(rows, inputs, 4)[0].repeat_interleave(BLOCK, 1).double()
    left, inverse = rows.double().clone(), torch.linalg.inv(inputs.matrix.double())
    expected = torch.zeros_like(left)
    for column in reversed(inputs.order.tolist()):
        level = (left[:, column] / scales[:, column]).round().clamp(-8, 7) * scales[:, column]
        expected[:, column] = level
        error = (left[:, column] - level) / inverse[column, column]
        left -= error[:, None] * inverse[column]
        inverse = inverse - torch.outer(inverse[:, column], inverse[column]) / inverse[column, column]
        inverse[column, column] = 1.0  # done with; never read again but as a divisor
    found = dequantize_rows(round_rows(rows, inputs, 4), 4, 64)
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-5)


def test_rounding_twice_gives_the_same_bytes() -> None:
    """There is no chance in it."""
    rows, inputs = matrix(9, 96), correlated(400, 96)
    one, two = (round_rows(rows, moments_of(inputs, BLOCK), 4) for _ in range(2))
    assert one.codes.tobytes() == two.codes.tobytes()
    assert one.scales.tobytes() == two.scales.tobytes()


def test_rows_do_not_depend_on_those_beside_them() -> None:
    """A matrix may be rounded some rows at a time."""
    rows, inputs = matrix(10, 64), moments_of(correlated(400, 64), BLOCK)
    whole = round_rows(rows, inputs, 4)
    parts = [round_rows(rows[part], inputs, 4) for part in (slice(0, 3), slice(3, 10))]
    assert np.array_equal(np.concatenate([part.codes for part in parts]), whole.codes)


def test_nothing_read_and_nothing_stored_stay_zero() -> None:
    """Inputs that are all zero, columns never used and rows of zeros give finite numbers, zeros where due."""
    unused = correlated(100, 64)
    unused[:, 10:20] = 0
    for inputs in (torch.zeros(100, 64), unused):
        packed = round_rows(torch.cat([matrix(2, 64), torch.zeros(1, 64)]), moments_of(inputs, BLOCK), 4)
        back = dequantize_rows(packed, 4, 64)
        assert np.isfinite(back).all()
        assert (back[2] == 0).all()


def test_solving_undoes_the_moments() -> None:
    """Rows times M, solved, are the rows."""
    inputs = moments_of(correlated(500, 64), BLOCK)
    rows = matrix(5, 64)
    np.testing.assert_allclose(inputs.solve(rows @ inputs.matrix), rows, rtol=0, atol=1e-3)


@pytest.mark.parametrize("tokens", [40, 300])
def test_a_matrix_is_refitted_whichever_system_is_smaller(tokens: int) -> None:
    """With fewer tokens than inputs and with more, it is the ridge regression as the textbook solves it."""
    inputs, rows = correlated(tokens, 64), matrix(10, 64)
    wanted = inputs @ matrix(10, 64).T
    known = moments_of(inputs, BLOCK)
    system = (inputs.T @ inputs).double() + known.damping * torch.eye(64)
    right = (wanted.T @ inputs + known.damping * rows).double() @ torch.linalg.inv(system)
    np.testing.assert_allclose(refit(rows, inputs, wanted, known), right, rtol=0, atol=1e-3)


def test_unrelated_inputs_round_to_the_nearest() -> None:
    """Where no column can make good for another, each weight has the level closest to it."""
    rows, inputs = matrix(10, 64), moments(torch.eye(64), BLOCK, 1.0)
    assert inputs.is_diagonal
    assert not moments_of(correlated(100, 64), BLOCK).is_diagonal
    scales = search_scales(rows, inputs, 4)[0].repeat_interleave(BLOCK, 1)
    nearest = (rows / scales).round().clamp(-8, 7) * scales
    np.testing.assert_array_equal(dequantize_rows(round_rows(rows, inputs, 4), 4, 64), nearest)
