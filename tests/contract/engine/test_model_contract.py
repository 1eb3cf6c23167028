"""What every Model must do, run over all of its implementations."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handler.engine import load, ort, ort_concat
from handler.engine.generate import Model
from tests.unit.engine.scripted_model import ScriptedModel, noisy

IDS = [5, 9, 3, 7, 11, 2, 8, 6, 4, 10, 12, 13]
"""Short and small enough for every vocabulary."""


def fused(request: pytest.FixtureRequest) -> Any:
    return load(request.getfixturevalue("tiny_bundle")("llama", "int4"), threads=1).model


def universal(request: pytest.FixtureRequest) -> Any:
    return load(request.getfixturevalue("universal_bundle"), threads=1).model


def scripted(request: pytest.FixtureRequest) -> Any:
    return noisy()


MAKERS: dict[type, Callable[..., Any]] = {
    ort.OrtModel: fused,
    ort_concat.ConcatModel: universal,
    ScriptedModel: scripted,
}


@pytest.fixture(params=MAKERS, ids=lambda kind: kind.__name__)
def model(request: pytest.FixtureRequest) -> Model:
    made: Model = MAKERS[request.param](request)
    assert type(made) is request.param
    return made


def close(left: Any, right: Any) -> None:
    """The universal layout is not bit-exact; the fused one has tests of its own for that."""
    np.testing.assert_allclose(left, right, rtol=2e-3, atol=2e-3)


def test_every_model_of_the_engine_is_under_this_contract() -> None:
    """Nobody adds a model without adding it here."""
    found = {
        kind
        for module in (ort, ort_concat)
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if kind.__module__ == module.__name__ and hasattr(kind, "forward")
    }
    assert found <= set(MAKERS)


def test_rows_are_those_of_the_last_ids(model: Model) -> None:
    """Any number of rows from none to all; the cache grows by the ids and by nothing else."""
    cache = model.new_cache()
    everything = model.forward(IDS, cache, rows=len(IDS)).copy()
    assert cache.length == len(IDS)
    for rows in range(len(IDS)):
        cache.truncate(0)
        logits = model.forward(IDS, cache, rows=rows)
        assert logits.shape == (rows, everything.shape[1])
        close(logits, everything[len(IDS) - rows :])
        assert cache.length == len(IDS)


def test_a_prompt_may_come_in_parts(model: Model) -> None:
    """Parts and wholes give the same logits."""
    whole = model.forward(IDS, model.new_cache()).copy()
    cache = model.new_cache()
    for at in (0, 5, 6):
        part = model.forward(IDS[at : {0: 5, 5: 6, 6: len(IDS)}[at]], cache)
    close(part, whole)


def test_what_was_truncated_is_forgotten(model: Model) -> None:
    """After a truncation the cache holds the prefix and behaves as if nothing else had ever been in it."""
    whole = model.forward(IDS, model.new_cache()).copy()
    cache = model.new_cache()
    model.forward([*IDS[:4], 1, 1, 1], cache)
    cache.truncate(4)
    assert cache.length == 4
    close(model.forward(IDS[4:], cache), whole)


def test_caches_are_apart(model: Model) -> None:
    """Two conversations on one model do not see each other."""
    first, second = model.new_cache(), model.new_cache()
    whole = model.forward(IDS, model.new_cache()).copy()
    model.forward(IDS[:6], first)
    model.forward(IDS[::-1], second)
    close(model.forward(IDS[6:], first), whole)


def test_both_layouts_are_the_same_model(tiny_bundle: Callable[..., Path], universal_bundle: Path) -> None:
    """The universal way and the fused one give the same logits for the same checkpoint, token after token."""
    models = [load(bundle, threads=1).model for bundle in (tiny_bundle("llama", "fp32"), universal_bundle)]
    caches = [model.new_cache() for model in models]
    for at in range(len(IDS)):
        one, other = (
            model.forward(IDS[at : at + 1], cache) for model, cache in zip(models, caches, strict=True)
        )
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_an_inexact_layout_still_converses(universal_bundle: Path) -> None:
    """Two turns on one engine: the second reuses the first's keys and values."""
    engine = load(universal_bundle, threads=1)
    messages = [{"role": "user", "content": "Hello, how are you?"}]
    said = "".join(piece.text for piece in engine.chat(messages, max_tokens=6, temperature=0))
    messages += [{"role": "assistant", "content": said}, {"role": "user", "content": "And?"}]
    ids = engine.prompt.encode(messages)
    generation = engine.generate(ids, engine.params(temperature=0), max_tokens=6)
    assert list(generation)
    assert generation.cached_tokens > 5
