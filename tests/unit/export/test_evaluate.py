"""Fidelity measures have the values that their definitions give."""

from __future__ import annotations

import math

import numpy as np
import pytest

from export.evaluate import compare, fidelity


def test_a_model_is_itself() -> None:
    """No divergence, full agreement, the same perplexity."""
    logits = np.random.default_rng(0).standard_normal((40, 50)).astype(np.float32)
    measured = fidelity([compare(logits, logits.copy(), list(range(40)))])
    assert (measured.kl_mean, measured.kl_max, measured.top1_agreement) == (0.0, 0.0, 1.0)
    assert measured.perplexity == measured.perplexity_unquantized


def test_divergence_is_the_textbook_one() -> None:
    """Two known distributions over two tokens; the first position predicts token 1 at 1/4 and 1/2."""
    p, q = np.log(np.array([[0.75, 0.25]] * 2)), np.log(np.array([[0.5, 0.5]] * 2))
    measured = fidelity([compare(p.astype(np.float32), q.astype(np.float32), [0, 1])])
    assert measured.kl_mean == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=1e-6)
    assert measured.perplexity_unquantized == pytest.approx(4.0, rel=1e-6)
    assert measured.perplexity == pytest.approx(2.0, rel=1e-6)


def test_chunks_of_rows_do_not_matter() -> None:
    """More rows than are held at once give the same mean as each alone."""
    random = np.random.default_rng(1)
    p, q = (random.standard_normal((37, 20)).astype(np.float32) for _ in range(2))
    whole = fidelity([compare(p, q, [1] * 37)])
    single = [fidelity([compare(p[i : i + 1], q[i : i + 1], [1])]).kl_mean for i in range(37)]
    assert whole.kl_mean == pytest.approx(np.mean(single), rel=1e-9)
