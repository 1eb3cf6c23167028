"""GPTQ: rows of a matrix rounded one column after the other, each error made good in the columns to come.

Owns the arithmetic on one matrix: what is known of its inputs, scales and codes. Does not know where inputs
come from, or models.

What is minimized is (w - q) M (w - q) for each row w and M, the second moments of the matrix's inputs. With
M = L L', L lower triangular, that is Babai's nearest plane, walked from the last column to the first, and
needs no inverse; it gives the codes of GPTQ's own form. A block's scale is chosen before, so that columns
may be taken in the order of their weight in M.

Source: https://arxiv.org/abs/2210.17323 (GPTQ), https://arxiv.org/abs/2507.18553 (as nearest plane)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch

from export.errors import ExportError
from export.quantize import Packed, pack_codes

Tensor = Any  # torch.Tensor; PyTorch is not type checked here

DAMPING = 0.01  # of M's mean diagonal, added to it: what the text hardly uses stays put
PER_INPUT = 4.0  # the same, for each input over each token: a short text is followed less than a long one
SHRINK = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6)  # scales tried, as parts of the one that keeps the largest
COLUMNS = 256  # rounded before their errors are carried to the rest in one product
NEAR_COLUMNS = 32  # of these, rounded before theirs are carried to the others of the 256
ROWS = 256  # searched for scales at a time: a few MB stay in the cache


@dataclass(frozen=True)
class Moments:
    """What is known of a matrix's inputs, ready for rounding; K is padded to whole blocks."""

    block: int
    damping: float  # added to the diagonal of X'X
    matrix: Tensor  # M [K, K], damped
    order: Tensor  # [K]; columns are rounded from its end to its start
    ratios: Tensor  # [K, K]: L in that order, each column divided by its diagonal
    diagonal: Tensor  # [K]: L's
    is_diagonal: bool  # M has nothing beside its diagonal: no column makes good for another
    between: Tensor | None = None  # [T, T]: the factor of X X' + damping, where T is less than K

    def solve(self, rows: Tensor) -> Tensor:
        """Rows [N, K] times the inverse of M. K must be whole blocks or less; what is padded is cut off."""
        width = len(self.matrix)
        padded = torch.nn.functional.pad(rows, (0, width - rows.shape[1]))
        lower, found = self.ratios * self.diagonal, torch.empty_like(padded)
        half = torch.linalg.solve_triangular(lower.T, padded[:, self.order], upper=True, left=False)
        found[:, self.order] = torch.linalg.solve_triangular(lower, half, upper=False, left=False)
        return found[:, : rows.shape[1]]


def moments_of(inputs: Tensor, block: int) -> Moments:
    """The moments of inputs X [T, K]: the fewer they are for their width, the less they are trusted."""
    tokens, width = inputs.shape
    found = moments(inputs.T @ inputs, block, DAMPING + PER_INPUT * width / tokens)
    if tokens >= width:
        return found
    between = inputs @ inputs.T
    between.diagonal().add_(found.damping)
    return replace(found, between=torch.linalg.cholesky(between))


def moments(inputs: Tensor, block: int, damping: float) -> Moments:
    """The moments X'X [K, K] of inputs X, damped (in place) and factored.

    Raises: ExportError where inputs, or their squares, are not finite.
    """
    width, mean = len(inputs), float(inputs.diagonal().mean())
    if not math.isfinite(mean):
        told = "the model computes numbers on it that are not finite, or too large to be squared"
        raise ExportError(f"--calibration: {told}: it overflows, or is damaged")
    damping *= mean or 1.0
    missing = -width % block
    matrix = torch.nn.functional.pad(inputs, (0, missing, 0, missing)) if missing else inputs
    matrix.diagonal().add_(damping)
    order = torch.argsort(matrix.diagonal(), stable=True)
    lower = torch.linalg.cholesky(matrix[order[:, None], order])
    diagonal = lower.diagonal().clone()
    is_diagonal = int(matrix.count_nonzero()) == len(matrix)
    return Moments(block, damping, matrix, order, lower.div_(diagonal), diagonal, is_diagonal)


def refit(rows: Tensor, inputs: Tensor, wanted: Tensor, known: Moments) -> Tensor:
    """The matrix [N, K] near `rows` that best maps inputs X [T, K] onto outputs wanted [T, N].

    It is a ridge regression; `known` are the inputs' moments. With fewer tokens than inputs the tokens'
    system is the smaller one: M's inverse times X' is X' times the inverse of (X X' + damping), and what is
    solved for is the difference.
    """
    if known.between is None:
        return known.solve(wanted.T @ inputs + known.damping * rows)
    missing = wanted - inputs @ rows.T
    return rows + torch.cholesky_solve(missing, known.between).T @ inputs


def round_rows(rows: Tensor, inputs: Moments, bits: int, *, symmetric: bool = True) -> Packed:
    """Rows [N, K] as codes and scales, and where they are not `symmetric` each block's code of zero."""
    width = len(inputs.matrix)
    rows = torch.nn.functional.pad(rows, (0, width - rows.shape[1]))
    searched = [search_scales(some, inputs, bits, symmetric=symmetric) for some in rows.split(ROWS)]
    scales, zeros = map(torch.cat, zip(*searched, strict=True))  # [N, B]
    codes = _codes(rows, scales, zeros, inputs, bits)  # [N, K]
    blocks = codes.reshape(len(rows), -1, inputs.block).add_(zeros[..., None]).to(torch.uint8)
    packed = pack_codes(blocks.numpy(), bits)
    return Packed(packed, scales.numpy(), None if symmetric else zeros.to(torch.uint8).numpy())


def search_scales(
    rows: Tensor, inputs: Moments, bits: int, *, symmetric: bool = True
) -> tuple[Tensor, Tensor]:
    """For each block of each row, of the scales tried the one with the least error, weighted by M's diagonal.

    Beside it the code of zero, which narrower scales leave where it is: both ends are cut by the same part.

    Shapes: rows [N, K], scales and zeros [N, B].
    """
    middle, top = 1 << (bits - 1), (1 << bits) - 1
    values = rows.reshape(len(rows), -1, inputs.block)  # [N, B, block]
    roots = inputs.matrix.diagonal().sqrt().reshape(1, -1, inputs.block)
    low, high = values.amin(-1), values.amax(-1)
    if symmetric:
        widest = torch.where(-low > high, low, high) / -middle
        zeros = torch.full_like(widest, middle)
    else:
        low, high = low.clamp(max=0), high.clamp(min=0)
        widest = (high - low) / top
        zeros = (-low / _nonzero(widest)).round_()
    least, most = -zeros[..., None], top - zeros[..., None]
    best = torch.full_like(widest, torch.inf)
    scales = widest
    for part in SHRINK:
        tried = widest * part
        exact = values / _nonzero(tried)[..., None]
        off = exact.round().clamp_(least, most).sub_(exact).mul_(roots)
        errors = torch.linalg.vector_norm(off, dim=-1).mul_(tried.abs())
        scales = torch.where(errors < best, tried, scales)
        best = torch.minimum(errors, best)
    return scales, zeros


def _codes(rows: Tensor, scales: Tensor, zeros: Tensor, inputs: Moments, bits: int) -> Tensor:
    """The code of each weight, as numbers [N, K] around zero."""
    if inputs.is_diagonal:
        levels = rows.reshape(*scales.shape, inputs.block) / _nonzero(scales)[..., None]
        least, most = -zeros[..., None], ((1 << bits) - 1) - zeros[..., None]
        return levels.round_().clamp_(least, most).reshape(rows.shape)
    order, ratios = inputs.order, inputs.ratios
    targets = rows.T.contiguous()[order]  # [K, N], as all below
    errors, codes = torch.zeros_like(targets), torch.empty_like(targets)
    # What is the same throughout a block is made once, and views of columns before the loop.
    of_block = (scales.T, 1 / _nonzero(scales.T), -zeros.T, ((1 << bits) - 1) - zeros.T)  # [B, N]
    blocks = list(zip(*(each.contiguous() for each in of_block), strict=True))
    known = [blocks[block] for block in (order // inputs.block).tolist()]
    columns = list(zip(targets, codes, errors, strict=True))
    for stop in range(len(order), 0, -COLUMNS):
        start = max(0, stop - COLUMNS)
        shifted = torch.addmm(targets[start:stop], ratios[stop:, start:stop].T, errors[stop:])
        for near_stop in range(stop, start, -NEAR_COLUMNS):
            near = max(start, near_stop - NEAR_COLUMNS)
            waiting = shifted[near - start : near_stop - start]
            weights = ratios[near:near_stop, near:near_stop]
            for at in range(near_stop - near - 1, -1, -1):
                target, code, error = columns[near + at]
                step, inverse, least, most = known[near + at]
                torch.mul(waiting[at], inverse, out=code).round_().clamp_(least, most)
                torch.addcmul(target, code, step, value=-1, out=error)
                waiting[:at].addr_(weights[at, :at], error)
            shifted[: near - start].addmm_(ratios[near:near_stop, start:near].T, errors[near:near_stop])
    placed = torch.empty_like(codes)
    placed[order] = codes
    return placed.T.contiguous()


def _nonzero(scales: Tensor) -> Tensor:
    return torch.where(scales == 0, torch.ones_like(scales), scales)
