"""Filters against transformers' logits processors, computed in double precision on random scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers.generation import logits_process as processors

from handler.engine import filters

Filter = Callable[[NDArray[np.float64], Any], NDArray[np.int64]]

CASES: list[tuple[str, Filter, Callable[[Any], Any], list[Any]]] = [
    ("top_k", filters.top_k, lambda k: processors.TopKLogitsWarper(k), [1, 2, 5, 40, 5000]),
    ("top_p", filters.top_p, lambda p: processors.TopPLogitsWarper(p), [0.01, 0.3, 0.9, 0.95, 0.999]),
    ("min_p", filters.min_p, lambda p: processors.MinPLogitsWarper(p), [0.001, 0.05, 0.5, 1.0]),
    ("typical_p", filters.typical_p, lambda p: processors.TypicalLogitsWarper(p), [0.05, 0.2, 0.9, 0.99]),
]
TABLE = [
    pytest.param(ours, theirs, value, id=f"{name}={value}")
    for name, ours, theirs, values in CASES
    for value in values
]


def kept_by_transformers(processor: Any, scores: NDArray[np.float64]) -> NDArray[np.int64]:
    out = processor(torch.zeros((1, 1), dtype=torch.long), torch.tensor(scores)[None])[0].numpy()
    return np.flatnonzero(out > -np.inf)


@pytest.mark.parametrize(("ours", "theirs", "value"), TABLE)
@given(
    size=st.sampled_from([1, 2, 7, 300, 20_000]),
    spread=st.sampled_from([0.01, 1.0, 3.0, 12.0]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=15, deadline=None)
def test_a_filter_keeps_what_transformers_keeps(
    ours: Filter, theirs: Callable[[Any], Any], value: Any, size: int, spread: float, seed: int
) -> None:
    """Flat and peaked distributions, small and large: the kept set is that of transformers' processor.

    Odds of failing falsely: a cumulated probability within rounding (1e-13) of the limit, below 1e-8 a run.
    """
    scores = np.random.default_rng(seed).normal(0, spread, size)
    np.testing.assert_array_equal(ours(scores, value), kept_by_transformers(theirs(value), scores))


@pytest.mark.parametrize(("ours", "theirs", "value"), TABLE)
def test_a_filter_takes_forbidden_ids_for_impossible(
    ours: Filter, theirs: Callable[[Any], Any], value: Any
) -> None:
    """Scores of -inf, as masks write them, are never kept unless nothing else is left."""
    scores = np.random.default_rng(3).normal(0, 3, 500)
    scores[::3] = -np.inf
    kept = ours(scores, value)
    possible = kept[np.isfinite(scores[kept])]
    np.testing.assert_array_equal(possible, kept_by_transformers(theirs(value), scores))


def test_top_k_keeps_ties_with_the_last() -> None:
    """Ids as likely as the k-th are kept, as in transformers, so that no order of ids is preferred."""
    assert filters.top_k(np.array([1.0, 3.0, 2.0, 2.0, 0.0]), 2).tolist() == [1, 2, 3]


def test_top_k_of_fewer_possible_ids_keeps_them_all() -> None:
    """When a mask leaves fewer than k ids, all of them stay."""
    scores = np.array([-np.inf, 1.0, -np.inf, 0.5])
    assert {1, 3} <= set(filters.top_k(scores, 3).tolist())
