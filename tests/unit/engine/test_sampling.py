"""The sampler: penalties, the draw, and that it depends on nothing but logits, history and seed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation import logits_process as processors

from handler.engine.sampling import (
    SamplingParams,
    log_normalizer,
    make_sampler,
    most_likely,
    new_seed,
    sampling_params,
    uniform,
)
from handler.errors import InvalidRequest


def random_logits(seed: int, size: int = 200) -> Any:
    return np.random.default_rng(seed).normal(0, 3, size).astype(np.float32)


def test_temperature_zero_is_the_most_likely_id_after_penalties_and_bias() -> None:
    """Greedy decoding respects logit_bias and penalties and needs no seed."""
    logits = np.array([1.0, 3.0, 2.0], np.float32)
    assert make_sampler(SamplingParams(temperature=0))(logits, [0]) == 1
    assert make_sampler(SamplingParams(temperature=0, logit_bias={0: 5.0}))(logits, [0]) == 0
    assert make_sampler(SamplingParams(temperature=0, presence_penalty=2.0))(logits, [1]) == 2


@given(seed=st.integers(0, 50), position=st.integers(1, 50))
@settings(max_examples=50, deadline=None)
def test_a_draw_is_transformers_distribution(seed: int, position: int) -> None:
    """All filters together, in transformers' order: the id drawn is one that transformers could draw."""
    logits = random_logits(seed)
    history = list(range(position))
    params = SamplingParams(
        temperature=0.7, top_k=50, top_p=0.9, min_p=0.02, typical_p=0.95, repetition_penalty=1.2, seed=seed
    )
    scores = torch.tensor(logits)[None].double()
    for processor in (
        processors.RepetitionPenaltyLogitsProcessor(1.2),
        processors.TemperatureLogitsWarper(0.7),
        processors.TopKLogitsWarper(50),
        processors.TopPLogitsWarper(0.9),
        processors.MinPLogitsWarper(0.02),
        processors.TypicalLogitsWarper(0.95),
    ):
        scores = processor(torch.tensor([history]), scores)
    assert torch.isfinite(scores[0, make_sampler(params)(logits, history)])


@pytest.mark.parametrize(
    "given_params",
    [{}, {"top_k": 4}, {"top_p": 0.8}, {"min_p": 0.1}, {"typical_p": 0.8}, {"temperature": 0.5}],
    ids=str,
)
def test_frequencies_match_probabilities(given_params: dict[str, Any]) -> None:
    """Over 5,000 positions each id comes up as often as its probability says.

    Six standard errors on each of at most 12 ids and six cases: odds of failing falsely below 2e-7.
    """
    logits = random_logits(5, size=12)
    params = SamplingParams(seed=11, **given_params)
    scores = torch.tensor(logits)[None].double() / params.temperature
    if params.top_k:
        scores = processors.TopKLogitsWarper(params.top_k)(None, scores)
    if params.top_p < 1:
        scores = processors.TopPLogitsWarper(params.top_p)(None, scores)
    if params.min_p:
        scores = processors.MinPLogitsWarper(params.min_p)(None, scores)
    if params.typical_p < 1:
        scores = processors.TypicalLogitsWarper(params.typical_p)(None, scores)
    expected = scores.softmax(-1)[0].numpy()
    sample, draws = make_sampler(params), 5_000
    counts = np.bincount([sample(logits, range(position)) for position in range(draws)], minlength=12)
    error = np.sqrt(expected * (1 - expected) / draws)
    assert np.all(np.abs(counts / draws - expected) <= 6 * error + 1e-12)


def test_draws_depend_on_seed_and_position_alone() -> None:
    """The same seed and position give the same number whatever was drawn before; others give others."""
    assert uniform(7, 3) == uniform(7, 3)
    assert len({uniform(seed, position) for seed in range(20) for position in range(20)}) == 400
    assert all(0 <= uniform(seed, 1) < 1 for seed in (-1, 0, 2**63 - 1, 2**80))


def test_log_probabilities_are_those_of_the_model() -> None:
    """A logit less the normalizer agrees with torch, and the most likely ids come best first."""
    logits = random_logits(1, size=20_000)
    expected = torch.tensor(logits).double().log_softmax(-1).numpy()
    np.testing.assert_allclose(logits - log_normalizer(logits), expected, atol=2e-6)
    assert most_likely(logits, 5) == np.argsort(-logits)[:5].tolist()
    assert most_likely(logits, 0) == []


@given(size=st.sampled_from([1, 2, 511, 512, 513, 3000]), seed=st.integers(0, 10_000), masked=st.booleans())
@settings(max_examples=60, deadline=None)
def test_an_impossible_id_is_never_drawn(size: int, seed: int, masked: bool) -> None:
    """Ids masked with -inf, blocks of them too, have no chance, at any size and position."""
    logits = random_logits(seed, size)
    possible = np.random.default_rng(seed).random(size) < (0.01 if masked else 1)
    possible[seed % size] = True
    logits[~possible] = -np.inf
    sample = make_sampler(SamplingParams(seed=seed))
    assert all(possible[sample(logits, range(position))] for position in range(1, 20))


@given(
    size=st.sampled_from([2, 300, 3000]),
    seed=st.integers(0, 10_000),
    allowed=st.integers(1, 5),
    params=st.builds(
        SamplingParams,
        temperature=st.sampled_from([0, 1e-9, 0.7, 100]),
        top_k=st.sampled_from([0, 1, 10]),
        top_p=st.sampled_from([1e-9, 0.5, 0.999, 1.0]),
        min_p=st.sampled_from([0, 0.5, 1.0]),
        typical_p=st.sampled_from([1e-9, 0.5, 0.999, 1.0]),
        repetition_penalty=st.sampled_from([0.1, 1.0, 10]),
        presence_penalty=st.sampled_from([-100, 0, 100]),
        frequency_penalty=st.sampled_from([-100, 0, 100]),
        logit_bias=st.dictionaries(st.integers(0, 1), st.sampled_from([-100.0, 100.0])),
    ),
)
@settings(max_examples=300, deadline=None)
@pytest.mark.filterwarnings("error")
def test_a_barred_id_is_never_drawn_whatever_the_sampling(
    size: int, seed: int, allowed: int, params: SamplingParams
) -> None:
    """All but a few ids barred, or all but one: no penalty, bias or filter lets another through, or fails."""
    random = np.random.default_rng(seed)
    possible = random.integers(0, size, allowed)
    logits = np.full(size, -np.inf, np.float32)
    logits[possible] = random.normal(0, 5, allowed)
    history = random.integers(0, size, 12).tolist()
    assert make_sampler(params)(logits, history) in possible


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", True),
        ("top_k", -1),
        ("top_k", 1.5),
        ("top_p", 0),
        ("top_p", 1.01),
        ("min_p", -0.1),
        ("typical_p", 0),
        ("repetition_penalty", 0),
        ("presence_penalty", math.inf),
        ("frequency_penalty", 101),
        ("logit_bias", {3: 101}),
        ("logit_bias", {-1: 1}),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field: str, value: Any) -> None:
    """The error names the field and says what is allowed."""
    with pytest.raises(InvalidRequest, match=field) as refused:
        SamplingParams(**{field: value})
    assert refused.value.param == field


def test_defaults_come_from_the_bundle_and_give_way_to_the_caller() -> None:
    """A bundle's defaults hold where the caller said nothing; None is nothing; a seed is always there."""
    params = sampling_params({"temperature": 0.6, "top_k": 20.0}, temperature=0.0, top_p=None)
    assert (params.temperature, params.top_k, params.top_p) == (0.0, 20, 1.0)
    assert sampling_params({}).seed != sampling_params({}).seed
    with pytest.raises(InvalidRequest, match="temprature"):
        sampling_params({}, temprature=1)


def test_a_drawn_seed_is_a_double() -> None:
    """Whoever reads JSON's numbers as doubles sends back the seed that was told.

    Seeds of 63 bits would pass in one of some 10^200 runs.
    """
    assert all(int(float(seed)) == seed for seed in (new_seed() for _ in range(100)))


def test_the_smallest_temperature_is_the_most_likely_id() -> None:
    """No overflow, no NaN: a temperature next to nothing draws what greedy takes."""
    logits = np.random.default_rng(2).normal(0, 5, 500).astype(np.float32)
    sample = make_sampler(SamplingParams(temperature=5e-324, top_p=0.9, seed=1))
    assert sample(logits, [1, 2]) == int(logits.argmax())
