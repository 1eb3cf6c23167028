"""The loop, on models whose logits are scripted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.engine.generate import PREFILL_STEP_TOKENS, Generation, generate
from handler.engine.lookup import PromptLookup
from handler.engine.sampling import SamplingParams, make_sampler
from handler.engine.values import StopReason
from handler.errors import ContextOverflow, InvalidRequest
from tests.unit.engine.scripted_model import ScriptedModel, looping, noisy, saying

GREEDY = make_sampler(SamplingParams(temperature=0))
EOS = {0}


def ids_of(generation: Generation) -> list[int]:
    return [token.id for token in generation]


def test_an_answer_ends_at_the_end_of_sequence_id_which_is_not_part_of_it() -> None:
    """The loop stops with the model's own end."""
    model = saying([5, 6, 7], prompt_tokens=2)
    generation = generate(model, model.new_cache(), [1, 2], GREEDY, eos=EOS)
    assert ids_of(generation) == [5, 6, 7]
    assert (generation.stop_reason, generation.output_tokens) == ("stop", 3)


def test_an_answer_ends_after_max_tokens() -> None:
    """No token more is computed than asked for."""
    model = saying([5, 6, 7], prompt_tokens=2)
    generation = generate(model, model.new_cache(), [1, 2], GREEDY, eos=EOS, max_tokens=2)
    assert ids_of(generation) == [5, 6]
    assert generation.stop_reason == "length"
    assert model.computed == [2, 1]


def test_an_answer_ends_where_the_context_does() -> None:
    """Without max_tokens the answer may fill the context and not more."""
    model = ScriptedModel(noisy(context_tokens=10)._script, context_tokens=10)
    generation = generate(model, model.new_cache(), [1, 2, 3], GREEDY, eos=())
    assert len(ids_of(generation)) == 7
    assert generation.stop_reason == "length"


@pytest.mark.parametrize("reason", ["deadline", "cancelled"])
def test_should_stop_is_asked_once_a_token(reason: StopReason) -> None:
    """When it says so the answer ends with what there is, and the reason is kept."""
    answers: Iterator[StopReason | None] = iter([None, None, None, reason])
    model = noisy()
    generation = generate(model, model.new_cache(), [1], GREEDY, eos=(), should_stop=lambda: next(answers))
    assert len(ids_of(generation)) == 3
    assert generation.stop_reason == reason


@pytest.mark.parametrize("reason", ["stop", "length"])
@pytest.mark.parametrize("is_guessed", [False, True])
def test_an_answer_ends_for_a_reason_that_its_ids_give(reason: StopReason, is_guessed: bool) -> None:
    """The id after which nothing can follow is the last one, guessed or drawn."""
    model = saying([5, 6, 7, 5, 6, 7], prompt_tokens=4)

    def ends(history: Sequence[int]) -> StopReason | None:
        return reason if len(history) == 8 else None

    draft = PromptLookup() if is_guessed else None
    generation = generate(model, model.new_cache(), [3, 5, 6, 7], GREEDY, eos=EOS, draft=draft, ends=ends)
    assert len(ids_of(generation)) == 4
    assert generation.stop_reason == reason


def test_a_long_prompt_can_be_stopped_before_its_end() -> None:
    """should_stop is asked between steps of the prefill too; what was computed stays in the cache."""
    answers: Iterator[StopReason | None] = iter([None, "deadline"])
    model = noisy(context_tokens=1000)
    cache = model.new_cache()
    prompt = [1] * (3 * PREFILL_STEP_TOKENS)
    generation = generate(model, cache, prompt, GREEDY, eos=(), should_stop=lambda: next(answers))
    assert ids_of(generation) == []
    assert (generation.stop_reason, cache.length) == ("deadline", PREFILL_STEP_TOKENS)


@pytest.mark.parametrize("cached", [0, 1, 2, 3])
def test_only_ids_that_are_not_cached_are_computed(cached: int) -> None:
    """A cached prefix is not computed again, except for the last id, whose logits are needed."""
    model = saying([5, 6], prompt_tokens=3)
    cache = model.new_cache()
    if cached:
        model.forward([1, 2, 3][:cached], cache)
    generation = generate(model, cache, [1, 2, 3], GREEDY, eos=EOS)
    assert generation.cached_tokens == min(cached, 2)
    assert ids_of(generation) == [5, 6]
    assert model.computed[1 if cached else 0] == 3 - min(cached, 2)


SAMPLINGS = [
    SamplingParams(temperature=0),
    SamplingParams(temperature=0.8, seed=3),
    SamplingParams(
        temperature=1.0, top_k=5, top_p=0.9, repetition_penalty=1.1, frequency_penalty=0.2, seed=9
    ),
]


@pytest.mark.parametrize("params", SAMPLINGS, ids=["greedy", "sampled", "penalized"])
@given(prompt=st.lists(st.integers(1, 15), min_size=1, max_size=12), maker=st.sampled_from([noisy, looping]))
@settings(max_examples=25, deadline=None)
def test_drafts_never_change_the_answer(params: SamplingParams, prompt: list[int], maker: type) -> None:
    """With and without guesses: the same ids, the same reason, the same log-probabilities."""
    model, sampler = maker(), make_sampler(params)
    plain = generate(model, model.new_cache(), prompt, sampler, eos=EOS, max_tokens=40, top_logprobs=2)
    expected = list(plain)
    guessed = generate(
        model,
        model.new_cache(),
        prompt,
        sampler,
        eos=EOS,
        max_tokens=40,
        top_logprobs=2,
        draft=PromptLookup(),
    )
    assert list(guessed) == expected
    assert guessed.stop_reason == plain.stop_reason


def test_right_drafts_save_calls() -> None:
    """On text that repeats itself the model is called far less often than once a token."""
    answer = [3, 4, 5, 6] * 8
    model = saying(answer, prompt_tokens=4)
    generation = generate(
        model, model.new_cache(), [3, 4, 5, 6], GREEDY, eos=EOS, max_tokens=32, draft=PromptLookup()
    )
    assert ids_of(generation) == answer
    assert len(model.computed) < len(answer) / 2


@given(
    prompt=st.lists(st.integers(1, 15), min_size=1, max_size=8),
    cut=st.integers(1, 30),
    drafts=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_an_answer_cut_at_any_token_goes_on_as_if_it_had_not_been(
    prompt: list[int], cut: int, drafts: bool
) -> None:
    """Prompt and answer so far, with the same seed, on an empty cache: the rest of the very same answer."""
    sampler = make_sampler(SAMPLINGS[2])
    model = looping()

    def run(ids: list[int], max_tokens: int) -> list[int]:
        draft = PromptLookup() if drafts else None
        return ids_of(
            generate(model, model.new_cache(), ids, sampler, eos=EOS, max_tokens=max_tokens, draft=draft)
        )

    whole = run(prompt, 30)
    first = whole[:cut]
    rest = run(prompt + first, 30 - len(first)) if len(first) < 30 and len(first) == cut else []
    assert first + rest == whole


@given(listen=st.integers(0, 12), prompt=st.lists(st.integers(1, 15), min_size=1, max_size=8))
@settings(max_examples=30, deadline=None)
def test_whoever_stops_listening_leaves_a_valid_cache(listen: int, prompt: list[int]) -> None:
    """After a close at any moment the cache holds a prefix of the ids, and it is handed back once."""
    model = looping()
    cache = model.new_cache()
    ended: list[Generation] = []
    generation = generate(
        model, cache, prompt, GREEDY, eos=EOS, max_tokens=20, draft=PromptLookup(), on_end=ended.append
    )
    for _ in zip(range(listen), generation, strict=False):
        pass
    generation.close()
    generation.close()
    assert cache.ids == generation.ids[: cache.length]
    assert ended == [generation]


def test_log_probabilities_come_only_when_asked_for() -> None:
    """Zero top log-probabilities still give the token's own."""
    model = saying([5], prompt_tokens=1)
    silent = next(iter(generate(model, model.new_cache(), [1], GREEDY, eos=EOS)))
    asked = next(iter(generate(model, model.new_cache(), [1], GREEDY, eos=EOS, top_logprobs=0)))
    assert silent.logprob is None
    assert asked.logprob is not None
    assert asked.top == ()


def test_what_cannot_be_answered_is_refused_before_anything_is_computed() -> None:
    """Empty prompts, too long ones and a max_tokens below one."""
    model = noisy(context_tokens=8)
    with pytest.raises(InvalidRequest, match="empty"):
        generate(model, model.new_cache(), [], GREEDY, eos=EOS)
    with pytest.raises(ContextOverflow, match=r"8 tokens.*8 tokens"):
        generate(model, model.new_cache(), [1] * 8, GREEDY, eos=EOS)
    with pytest.raises(InvalidRequest, match="max_tokens"):
        generate(model, model.new_cache(), [1], GREEDY, eos=EOS, max_tokens=0)
    assert model.computed == []
