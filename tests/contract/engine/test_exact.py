"""Bit-exactness of the fused families: logits and answers do not depend on how they were computed."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export.graph import FAMILIES as REGISTERED
from handler.engine import load
from handler.engine.bundle import read_manifest, sealed
from handler.engine.engine import Engine
from handler.engine.generate import generate, scored
from handler.engine.lookup import PromptLookup
from handler.engine.ort import KEPT_STEP_ROWS, OrtCache
from handler.engine.sampling import SamplingParams, make_sampler
from handler.engine.text import TextStream
from handler.engine.values import Token
from handler.engine.warm import WarmSlot
from handler.errors import Unavailable

FAMILIES = [family.name for family in REGISTERED]
TOKENS = 160
IDS = [int(id_) for id_ in np.random.default_rng(1).integers(3, 500, TOKENS)]
QUICK = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SAMPLINGS = [
    SamplingParams(temperature=0),
    SamplingParams(temperature=0.9, top_p=0.95, seed=5),
    SamplingParams(
        temperature=1.0, top_k=40, min_p=0.01, repetition_penalty=1.1, presence_penalty=0.2, seed=8
    ),
]


@pytest.fixture(scope="module", params=FAMILIES)
def engine(request: pytest.FixtureRequest, tiny_bundle: Callable[..., Path]) -> Engine:
    return load(tiny_bundle(request.param, "int4"), threads=1)


@pytest.fixture(scope="module")
def one_shot(engine: Engine) -> Any:
    """The logits after every id of IDS, computed in one go."""
    return engine.model.forward(IDS, engine.model.new_cache(), rows=TOKENS).copy()


@given(data=st.data())
@QUICK
def test_logits_do_not_depend_on_how_the_prompt_is_cut(
    engine: Engine, one_shot: Any, data: st.DataObject
) -> None:
    """Chunks of any size, one id at a time included: every row has the bits of the one-shot run."""
    cache, at = engine.model.new_cache(), 0
    while at < TOKENS:
        size = min(data.draw(st.one_of(st.integers(1, 5), st.integers(1, TOKENS))), TOKENS - at)
        rows = data.draw(st.integers(0, size))
        logits = engine.model.forward(IDS[at : at + size], cache, rows=rows)
        at += size
        np.testing.assert_array_equal(logits, one_shot[at - rows : at])


@given(data=st.data())
@QUICK
def test_logits_do_not_depend_on_what_was_guessed_and_forgotten(
    engine: Engine, one_shot: Any, data: st.DataObject
) -> None:
    """Wrong guesses, truncations and new starts at any position leave no trace."""
    cache, at = engine.model.new_cache(), 0
    for _ in range(12):
        wrong = data.draw(st.lists(st.integers(0, 500), max_size=5))
        size = min(data.draw(st.integers(1, 60)), TOKENS - at)
        if wrong:
            engine.model.forward(wrong, cache, rows=len(wrong))
            cache.truncate(at)
        logits = engine.model.forward(IDS[at : at + size], cache, rows=size)
        np.testing.assert_array_equal(logits, one_shot[at : at + size])
        at = data.draw(st.integers(0, at + size - 1))
        cache.truncate(at)


def test_logits_do_not_depend_on_the_thread_count_or_the_process_state(
    engine: Engine, one_shot: Any, tiny_bundle: Callable[..., Path], request: pytest.FixtureRequest
) -> None:
    """A second session with two threads gives the same bits."""
    family = request.node.callspec.params["engine"]
    other = load(tiny_bundle(family, "int4"), threads=2).model
    np.testing.assert_array_equal(other.forward(IDS, other.new_cache(), rows=TOKENS), one_shot)


def test_the_even_row_rule_is_needed(
    engine: Engine,
    one_shot: Any,
    tiny_bundle: Callable[..., Path],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    """With odd row counts the bits do differ: the tests above could fail."""
    family = request.node.callspec.params["engine"]
    bundle = Path(shutil.copytree(tiny_bundle(family, "int4"), tmp_path / "bundle"))
    manifest = dataclasses.asdict(read_manifest(bundle))
    (bundle / "bundle.json").write_bytes(sealed({**manifest, "row_multiple": 1}))
    model = load(bundle, threads=1).model
    cache = model.new_cache()
    odd = np.concatenate([model.forward([id_], cache).copy() for id_ in IDS])
    assert not np.array_equal(odd, one_shot)


@pytest.mark.parametrize("params", SAMPLINGS, ids=["greedy", "sampled", "penalized"])
def test_answers_do_not_depend_on_speculation(engine: Engine, params: SamplingParams) -> None:
    """Ids, reason and log-probabilities to the bit; the prompt repeats itself, so drafts do happen."""
    prompt = IDS[:20] * 3

    def run(draft: PromptLookup | None) -> list[Any]:
        cache = engine.model.new_cache()
        eos = engine.manifest.tokens.eos
        generation = generate(
            engine.model,
            cache,
            prompt,
            make_sampler(params),
            eos=eos,
            max_tokens=60,
            draft=draft,
            top_logprobs=3,
        )
        return [*generation, generation.stop_reason]

    assert run(None) == run(PromptLookup())


def test_answers_under_a_mask_do_not_depend_on_speculation(engine: Engine) -> None:
    """A grammar allows other ids after every id: a guess that it forbids is not drawn, and nothing moves."""
    prompt, draw = IDS[:20] * 3, make_sampler(SamplingParams(temperature=0.9, seed=3))

    def masked(logits: Any, history: Any) -> int:
        allowed = np.full_like(logits, -np.inf)
        start = history[-1] % 3
        allowed[start::3] = logits[start::3]
        return draw(allowed, history)

    def run(draft: PromptLookup | None) -> list[int]:
        cache = engine.model.new_cache()
        tokens = generate(engine.model, cache, prompt, masked, eos=(), max_tokens=60, draft=draft)
        return [token.id for token in tokens]

    ids = run(PromptLookup())
    assert ids == run(None)
    assert all(id_ % 3 == before % 3 for before, id_ in itertools.pairwise([prompt[-1], *ids]))


def test_a_stop_string_ends_the_text_at_the_same_place_with_guesses_and_without(engine: Engine) -> None:
    """Right guesses run ahead of what is shown; a stop string within them still cuts there."""
    params = SamplingParams(temperature=0.9, seed=4)

    def text(stop: tuple[str, ...], speculate: bool) -> str:
        engine.warm = WarmSlot(engine.model.new_cache)
        tokens = engine.generate(IDS[:20] * 3, params, max_tokens=60, speculate=speculate)
        return "".join(piece.text for piece in TextStream(tokens, engine.tokenizer, stop))

    whole = text((), True)
    stop = whole[len(whole) // 2 :][:3]
    assert text((stop,), True) == text((stop,), False) == whole[: whole.index(stop)]


def test_fast_mode_computes_single_rows_and_exact_mode_pairs(
    tiny_bundle: Callable[..., Path], engine: Engine, request: pytest.FixtureRequest
) -> None:
    """All that differs between the modes: whether one id alone is padded."""
    fast = load(tiny_bundle(request.node.callspec.params["engine"], "int4"), threads=1, exact=False)
    assert (engine.exact, fast.exact) == (True, False)
    for one, computed in ((engine, 2), (fast, 1)):
        cache = one.model.new_cache()
        one.model.forward(IDS[:3], cache)
        one.model.forward(IDS[3:4], cache)
        assert {rows for rows, _ in cache.steps} == {4, computed}


@pytest.mark.parametrize("params", SAMPLINGS, ids=["greedy", "sampled", "penalized"])
@given(data=st.data())
@settings(QUICK, max_examples=6)
def test_answers_do_not_depend_on_the_warm_cache(
    engine: Engine, params: SamplingParams, data: st.DataObject
) -> None:
    """Turn after turn, with branches: the warm engine answers as one that has never seen the conversation."""
    engine.warm = WarmSlot(engine.model.new_cache)
    history = IDS[: data.draw(st.integers(1, 40))]
    for _ in range(3):
        warm = list(engine.generate(history, params, max_tokens=12))
        cold = generate(
            engine.model,
            engine.model.new_cache(),
            history,
            make_sampler(params, len(history)),
            eos=engine.manifest.tokens.eos,
            max_tokens=12,
        )
        assert warm == list(cold)
        kept = data.draw(st.integers(1, len(history)))
        history = history[:kept] + [token.id for token in warm] + IDS[: data.draw(st.integers(1, 9))]


@pytest.mark.parametrize("params", SAMPLINGS, ids=["greedy", "sampled", "penalized"])
def test_an_answer_cut_at_every_token_continues_as_the_whole(engine: Engine, params: SamplingParams) -> None:
    """Prompt and answer so far on an empty cache, as on another instance: the rest of the same answer."""
    prompt, eos = IDS[:15], engine.manifest.tokens.eos

    def run(ids: list[int], max_tokens: int) -> list[int]:
        sampler = make_sampler(params)
        cache = engine.model.new_cache()
        return [t.id for t in generate(engine.model, cache, ids, sampler, eos=eos, max_tokens=max_tokens)]

    whole = run(prompt, 20)
    for cut in range(1, len(whole)):
        assert whole[:cut] + run(prompt + whole[:cut], 20 - cut) == whole


def test_an_answer_does_not_wait_for_room(engine: Engine) -> None:
    """Keys and values move at most before the first token, never between two."""
    cache = engine.model.new_cache()
    sampler = make_sampler(SamplingParams(temperature=0))
    tokens = iter(generate(engine.model, cache, IDS[:100], sampler, eos=(), max_tokens=60))
    next(tokens)
    capacity = cache.capacity
    assert len(list(tokens)) == 59
    assert cache.capacity == capacity


def test_a_cache_that_cannot_grow_is_what_it_was(engine: Engine, one_shot: Any) -> None:
    """Where there is no memory for a prompt, that request fails as 503, and the next one finds the cache
    whole."""
    cache = engine.model.new_cache()
    engine.model.forward(IDS[:100], cache, rows=0)
    cache.limit = 1 << 50
    with pytest.raises(Unavailable, match="allocate"):
        cache.reserve(1 << 48)
    logits = engine.model.forward(IDS[100:], cache, rows=TOKENS - 100)
    np.testing.assert_array_equal(logits, one_shot[100:])


@given(data=st.data())
@QUICK
def test_scores_do_not_depend_on_what_is_cached(engine: Engine, one_shot: Any, data: st.DataObject) -> None:
    """Whatever was scored or answered before, every id of a prompt has the score of the one-shot logits."""
    engine.warm = WarmSlot(engine.model.new_cache)
    for _ in range(4):
        prompt = IDS[: data.draw(st.integers(1, TOKENS))]
        if data.draw(st.booleans()):
            list(engine.generate(prompt, SamplingParams(temperature=0), max_tokens=3))
        tokens = list(engine.score(prompt, top_logprobs=2))
        assert tokens == [
            Token(prompt[0]),
            *(scored(prompt[at], one_shot[at - 1], 2) for at in range(1, len(prompt))),
        ]


def test_scores_are_those_of_decode_steps(engine: Engine) -> None:
    """An answer scored as part of a prompt has the very bits that it was generated with."""
    params = SamplingParams(temperature=0.9, seed=6)
    said = list(engine.generate(IDS[:33], params, max_tokens=40, top_logprobs=3))
    engine.warm = WarmSlot(engine.model.new_cache)
    assert list(engine.score([*IDS[:33], *(token.id for token in said)], top_logprobs=3))[33:] == said


def test_a_scoring_leaves_no_rows_behind(engine: Engine) -> None:
    """Logits of a whole step are let go: with a large vocabulary they are tens of megabytes."""
    engine.warm = WarmSlot(engine.model.new_cache)
    list(engine.score(IDS, top_logprobs=1))
    cache = engine.warm.take(IDS)
    assert isinstance(cache, OrtCache)
    assert all(rows <= KEPT_STEP_ROWS for _, rows in cache.steps)


def test_the_context_can_be_used_to_its_end(engine: Engine) -> None:
    """Prompt and answer together fill the context exactly, odd or even."""
    context = engine.model.context_tokens
    for prompt_tokens in (context - 1, context - 2, context - 5):
        prompt = [id_ % 500 + 3 for id_ in range(prompt_tokens)]
        params = SamplingParams(temperature=0, logit_bias=dict.fromkeys(engine.manifest.tokens.eos, -100.0))
        generation = engine.generate(prompt, params)
        assert len(list(generation)) == context - prompt_tokens
        assert generation.stop_reason == "length"
