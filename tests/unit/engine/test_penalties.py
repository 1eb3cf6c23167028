"""Penalties and biases, and that the count kept between calls never shows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation import logits_process as processors

from handler.engine.penalties import Tally, make_answer_penalty, make_bias, make_repetition_penalty

HISTORIES = st.lists(st.integers(0, 9), max_size=12)


def random_logits(seed: int) -> Any:
    return np.random.default_rng(seed).normal(0, 3, 200).astype(np.float32)


@given(seed=st.integers(0, 1000), penalty=st.sampled_from([0.5, 1.1, 2.0]), length=st.integers(1, 50))
@settings(max_examples=30, deadline=None)
def test_repetition_penalty_equals_transformers(seed: int, penalty: float, length: int) -> None:
    """Every id of the history is divided or multiplied once, however often it occurred."""
    logits = random_logits(seed)
    history = np.random.default_rng(seed).integers(0, 200, length).tolist()
    processor = processors.RepetitionPenaltyLogitsProcessor(penalty)
    theirs = processor(torch.tensor([history]), torch.tensor(logits)[None])[0].numpy()
    ours = make_repetition_penalty(penalty)(logits, history)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_presence_and_frequency_follow_openai_s_formula() -> None:
    """logit - count * frequency - (count > 0) * presence."""
    logits = np.zeros(4, np.float32)
    out = make_answer_penalty(0.5, 0.25)(logits, [1, 1, 2])
    assert out.tolist() == [0, -1.0, -0.75, 0]
    assert logits.tolist() == [0, 0, 0, 0], "the model's own buffer is left alone"


def test_a_prompt_is_only_repeated() -> None:
    """Repetition looks at prompt and answer, presence and frequency at the answer alone."""
    logits = np.full(4, 2, np.float32)
    history = [1, 1, 2, 2, 3, 3]
    repeated = make_repetition_penalty(2)(logits, history)
    out = make_answer_penalty(0.5, 0.25, answer_from=3)(repeated, history)
    assert out.tolist() == [2, 1, 0.25, 0]


def test_a_bias_is_added_to_a_copy() -> None:
    """The ids named get their bias, the others nothing, and the model's own buffer is left alone."""
    logits = np.zeros(3, np.float32)
    assert make_bias({2: 1.5, 0: -100.0})(logits, []).tolist() == [-100, 0, 1.5]
    assert logits.tolist() == [0, 0, 0]


@given(asked=st.lists(st.tuples(HISTORIES, st.booleans()), max_size=8))
@settings(max_examples=200, deadline=None)
def test_a_count_depends_on_nothing_asked_before(asked: list[tuple[list[int], bool]]) -> None:
    """Histories that grow, shrink, change in the middle or start anew: the count is that of the last one."""
    tally, history = Tally(), [1, 2]
    for ids, goes_on in asked:
        history = [*history, *ids] if goes_on else history[: len(ids)] + ids[len(history) :]
        given_ids: Any = history if goes_on else np.array(history, np.int64)
        found, counts = tally.count(given_ids)
        assert dict(zip(found.tolist(), counts.tolist(), strict=True)) == Counter(history)


def test_a_list_changed_in_place_is_counted_as_it_is_now() -> None:
    """The count keeps its own copy of what it saw."""
    tally, history = Tally(), [1, 2, 3]
    tally.count(history)
    history[0] = 3
    found, counts = tally.count(history)
    assert dict(zip(found.tolist(), counts.tolist(), strict=True)) == {3: 2, 2: 1}
