"""Fidelity: how far the bundle's predictions are from the unquantized model's, on the same text.

Owns the measures. Does not know how either set of logits came about, and judges nothing: that is `verify`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

CHUNK_ROWS = 16  # of float64 log-probabilities held at once


@dataclass(frozen=True)
class Fidelity:
    """Measures over T positions of one text; divergences are in nats."""

    tokens: int
    kl_mean: float  # KL(unquantized || bundle)
    kl_p99: float
    kl_max: float
    top1_agreement: float
    perplexity: float
    perplexity_unquantized: float


def fidelity(unquantized: Float32, bundle: Float32, ids: list[int]) -> Fidelity:
    """Compare two models' logits on `ids`.

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
    kl = np.maximum(np.concatenate(divergence), 0)  # below zero only by rounding
    return Fidelity(
        tokens=len(ids),
        kl_mean=float(kl.mean()),
        kl_p99=float(np.quantile(kl, 0.99)),
        kl_max=float(kl.max()),
        top1_agreement=float((unquantized.argmax(-1) == bundle.argmax(-1)).mean()),
        perplexity=_perplexity(np.concatenate(surprise)),
        perplexity_unquantized=_perplexity(np.concatenate(surprise_unquantized)),
    )


def log_softmax(logits: Float32) -> Float64:
    """Log-probabilities in float64, along the last axis."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    result: Float64 = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result


def _perplexity(surprise: Float64) -> float:
    return math.exp(min(float(surprise.mean()), 700.0)) if len(surprise) else math.nan
