"""Under its grammar the smallest model calls functions properly: real bundle, random schemas, any draw.

And what tokens it allows, with the tokenizers of models that think.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.engine import load
from handler.engine.call_grammar import call_grammar
from handler.engine.call_stream import CallStream
from handler.engine.call_syntax import HERMES, LLAMA, CallSyntax
from handler.engine.control import ControlTokens
from handler.engine.engine import Engine
from handler.engine.grammar import Grammar
from handler.engine.text import TextStream
from tests.unit.engine.tiny_tokenizers import ALL
from tests.unit.handler.scripted_engine import noisy_engine

Schema = dict[str, Any]
names = st.from_regex(r"[a-zA-Z0-9_-]{1,10}", fullmatch=True)
words = st.text(alphabet='ab 你🐭"\\<>{}', min_size=1, max_size=5)
scalars: st.SearchStrategy[Schema] = st.one_of(
    st.builds(
        lambda low, span: {"type": "integer", "minimum": low, "maximum": low + span},
        st.integers(-99, 99),
        st.integers(0, 99),
    ),
    st.builds(lambda size: {"type": "string", "maxLength": size}, st.integers(0, 6)),
    st.lists(words, min_size=1, max_size=3, unique=True).map(lambda options: {"enum": options}),
    st.sampled_from([{"type": "integer"}, {"type": "number"}, {"type": "number", "minimum": 0.5}]),
    st.just({"type": "boolean"}),
    st.just({"type": ["null", "boolean"]}),
)


def objects(values: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    """Schemas of objects, in which any of the properties may be required, and others open or forbidden."""
    return st.dictionaries(words, values, max_size=3).flatmap(
        lambda properties: st.fixed_dictionaries(
            {
                "type": st.just("object"),
                "properties": st.just(properties),
                "required": st.lists(st.sampled_from(sorted(properties)), unique=True)
                if properties
                else st.just([]),
            },
            optional={"additionalProperties": st.just(False)},
        )
    )


def arrays(values: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    """Schemas of short arrays."""
    return values.map(lambda items: {"type": "array", "items": items, "maxItems": 2})


schemas = objects(st.recursive(scalars, lambda values: objects(values) | arrays(values), max_leaves=4))


@pytest.fixture(scope="module")
def engine(house_bundle: Path) -> Engine:
    """The embedded model."""
    return load(house_bundle, threads=1)


def answer(
    engine: Engine,
    syntax: CallSyntax,
    functions: Mapping[str, Schema],
    *,
    required: bool,
    most: int,
    begun: str = "",
    **sampling: Any,
) -> tuple[str, list[tuple[str, str]], str | None]:
    """Text, calls and the stop reason of an answer made under the grammar, of what it says after `begun`."""
    grammar = call_grammar(
        syntax, functions, required=required, most=most, control=engine.prompt.shown_control
    )
    ids = engine.prompt.encode([{"role": "user", "content": "What is the weather?"}])
    prior = engine.tokenizer.encode(begun, add_special_tokens=False).ids
    tokens = engine.generate(
        [*ids, *prior],
        engine.params(**sampling),
        grammar=grammar,
        max_tokens=900,
        prior_tokens=len(prior),
    )
    stream = CallStream(TextStream(tokens, engine.tokenizer, prior=prior), syntax)
    text, calls = "", list[tuple[str, str]]()
    for piece in stream:
        if piece.kind == "text":
            text += piece.text
        elif piece.kind == "name":
            calls.append((piece.text, ""))
        else:
            calls[-1] = (calls[-1][0], calls[-1][1] + piece.text)
    return text, calls, stream.stop_reason


@settings(max_examples=120, deadline=None)
@given(
    functions=st.dictionaries(names, schemas, min_size=1, max_size=3),
    syntax=st.sampled_from([HERMES, LLAMA]),
    most=st.integers(1, 2),
    temperature=st.sampled_from([0.0, 1.0, 2.0]),
    seed=st.integers(0, 2**32),
)
def test_required_calls_parse_and_validate(
    engine: Engine, functions: dict[str, Schema], syntax: CallSyntax, most: int, temperature: float, seed: int
) -> None:
    """Whatever the functions and however wild the draw, calls end, parse, and keep to their schemas."""
    text, calls, reason = answer(
        engine, syntax, functions, required=True, most=most, temperature=temperature, seed=seed
    )
    assert (text, reason) == ("", "stop")
    assert 1 <= len(calls) <= (1 if syntax.alone else most)
    for name, arguments in calls:
        jsonschema_rs.validate(functions[name], json.loads(arguments))


@settings(max_examples=30, deadline=None)
@given(functions=st.dictionaries(names, schemas, min_size=1, max_size=2), seed=st.integers(0, 2**32))
def test_a_begun_marker_becomes_a_call(engine: Engine, functions: dict[str, Schema], seed: int) -> None:
    """Where calls may come, text runs free; once a marker has been written, only a call can follow."""
    sampling = {"temperature": 1.0, "seed": seed}
    text, calls, _ = answer(engine, HERMES, functions, required=False, most=1, **sampling)
    assert text or calls
    begun = f"Let me see. {HERMES.marker}"
    text, calls, reason = answer(engine, HERMES, functions, required=False, most=1, begun=begun, **sampling)
    assert (text, len(calls), reason) == ("", 1, "stop")
    jsonschema_rs.validate(functions[calls[0][0]], json.loads(calls[0][1]))


@pytest.fixture(params=["byte_level", "sentencepiece_bpe"])
def thinking(request: pytest.FixtureRequest) -> Engine:
    """An engine to whose tokenizer `<think>` is a token that is not special."""
    return noisy_engine(tokenizer=ALL[request.param]())


def may_follow(engine: Engine, written: str, spelled: str = "", **options: Any) -> list[str]:
    """A thought, its end, the end of all: which of them may follow what is written, and then spelled."""
    grammar = call_grammar(
        **{"syntax": HERMES, "functions": {"f": {}}, "required": False, "most": 2, **options},
        control=engine.prompt.shown_control,
    )
    control = ControlTokens(engine.tokenizer)
    ids = list(engine.tokenizer.encode(written, add_special_tokens=False).ids)
    ids += control.encode_marked(control.mark(spelled))
    allowed = engine.grammars.constraint(grammar, 0).allowed(ids)
    return [token for token in ("<think>", "</think>", "<|im_end|>") if allowed[control.ids[token]]]


@pytest.mark.parametrize("syntax", [HERMES, LLAMA], ids=["hermes", "llama"])
@pytest.mark.parametrize(
    "text", ["", "Hm", "<think>", "<think>Hm", "<think>Hm</think>", "<think>{</think>Hm"]
)
def test_a_thought_may_stand_in_text(thinking: Engine, syntax: CallSyntax, text: str) -> None:
    """The tokens around a thought are allowed wherever text is, as they are where no function is offered."""
    assert may_follow(thinking, text, syntax=syntax) == ["<think>", "</think>", "<|im_end|>"]


@pytest.mark.parametrize("text", ["", "Hm", "<think>", "<think>Hm</think>", "<think>Hm</think>Hm"])
def test_behind_a_marker_there_is_no_thought(thinking: Engine, text: str) -> None:
    """After a thought as after text the marker, a token or spelled, leaves nothing but a call."""
    assert may_follow(thinking, text + HERMES.marker) == may_follow(thinking, text, HERMES.marker) == []


@pytest.mark.parametrize(
    "options",
    [{"required": True}, {"form": Grammar.json_schema({})}, {"required": True, "syntax": LLAMA}],
    ids=["required", "form", "required-llama"],
)
def test_what_has_to_come_is_not_put_off(thinking: Engine, options: dict[str, Any]) -> None:
    """A call that is required, or a form, begins at once."""
    assert may_follow(thinking, "", **options) == []
