"""Fidelity: how far the bundle's predictions are from the unquantized model's, on the same text.

Owns the measures. Does not know how either set of logits came about, and judges nothing: that is `verify`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

CHUNK_ROWS = 16  # of float64 log-probabilities held at once


@dataclass(frozen=True)
class Fidelity:
    """Measures over all positions of some texts; divergences are in nats."""

    tokens: int
    kl_mean: float  # KL(unquantized || bundle)
    kl_p99: float
    kl_max: float
    top1_agreement: float
    perplexity: float
    perplexity_unquantized: float


@dataclass(frozen=True)
class Positions:
    """What was measured at each of T positions of a text."""

    kl: Float64  # [T]
    agrees: NDArray[np.bool_]  # [T]: both find the same id likeliest
    surprise: Float64  # [T - 1]: -log of the probability that the bundle gave the id that came
    surprise_unquantized: Float64


def compare(unquantized: Float32, bundle: Float32, ids: Sequence[int]) -> Positions:
    """Compare two models' logits on `ids`, position by position.

    Shapes: both [T, V], T = len(ids).
    """
    divergence, surprise, surprise_unquantized = [], [], []
    following = np.array(ids[1:], np.int64)
    for start in range(0, len(ids), CHUNK_ROWS):
        p = log_softmax(unquantized[start : start + CHUNK_ROWS])  # [rows, V]
        q = log_softmax(bundle[start : start + CHUNK_ROWS])
        divergence.append((np.exp(p) * (p - q)).sum(-1))
        nexts = following[start : start + CHUNK_ROWS]
        rows = np.arange(len(nexts))
        surprise.append(-q[rows, nexts])
        surprise_unquantized.append(-p[rows, nexts])
    return Positions(
        kl=np.maximum(np.concatenate(divergence), 0),  # below zero only by rounding
        agrees=unquantized.argmax(-1) == bundle.argmax(-1),
        surprise=np.concatenate(surprise),
        surprise_unquantized=np.concatenate(surprise_unquantized),
    )


def fidelity(texts: Sequence[Positions]) -> Fidelity:
    """The measures over all positions of some texts."""
    kl = np.concatenate([text.kl for text in texts])
    return Fidelity(
        tokens=len(kl),
        kl_mean=float(kl.mean()),
        kl_p99=float(np.quantile(kl, 0.99)),
        kl_max=float(kl.max()),
        top1_agreement=float(np.concatenate([text.agrees for text in texts]).mean()),
        perplexity=_perplexity(np.concatenate([text.surprise for text in texts])),
        perplexity_unquantized=_perplexity(np.concatenate([text.surprise_unquantized for text in texts])),
    )


def agreement_length(unquantized: Float32, ids: Sequence[int], start: int) -> int:
    """How many greedy ids from `start` on the unquantized model would have said too, up to the first other.

    Before the first difference both have read the same, so that reading the bundle's answer is enough.
    """
    said = unquantized[start - 1 : len(ids) - 1].argmax(-1)  # [T - start]
    other = np.flatnonzero(said != np.array(ids[start:]))
    return int(other[0]) if len(other) else len(said)


def log_softmax(logits: Float32) -> Float64:
    """Log-probabilities in float64, along the last axis."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    result: Float64 = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result


def _perplexity(surprise: Float64) -> float:
    return math.exp(min(float(surprise.mean()), 700.0)) if len(surprise) else math.nan
