"""Answers under a grammar, on real models: always what was asked for, and exact as any other answer."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handler.engine import load
from handler.engine.engine import Engine
from handler.engine.grammar import Grammar, json_rule
from handler.engine.narrowing import narrowed
from handler.engine.sampling import SamplingParams
from handler.engine.text import TextStream
from handler.errors import InvalidRequest

QUICK = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SAMPLINGS = [
    SamplingParams(temperature=0),
    SamplingParams(temperature=1.0, top_p=0.9, seed=5),
    SamplingParams(temperature=1.5, top_k=5, typical_p=0.4, min_p=0.05, seed=6),
    SamplingParams(repetition_penalty=1.3, presence_penalty=0.5, logit_bias={2: 100.0, 9: -100.0}, seed=8),
]
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "b", "<|im_end|>"]}, "maxItems": 2},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "boolean"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 1},
            },
            "required": ["value"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}
# Values of bounded length, so that every answer has an end.
LEAVES = st.sampled_from(
    [
        {"type": "boolean"},
        {"type": "null"},
        {"type": "integer", "minimum": -20, "maximum": 3000},
        {"type": "string", "maxLength": 6},
        {"type": "string", "pattern": "^[a-f]{2,4}$"},
        {"type": "string", "format": "date"},
        {"enum": ["red", 7, None, "绿色"]},
        {"const": "<|im_start|>"},
        {"anyOf": [{"type": "boolean"}, {"enum": ["x"]}]},
    ]
)


def objects(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    names = st.sampled_from(["id", "name", "名字", 'quo"te', "a b", "order", "orderId"])

    def schema(properties: dict[str, Any], required: bool) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties) if required else [],
            "additionalProperties": False,
        }

    return st.builds(schema, st.dictionaries(names, inner, max_size=3), st.booleans())


def arrays(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda items: {"type": "array", "items": items, "maxItems": 2}, inner)


SCHEMAS = st.recursive(LEAVES, lambda inner: objects(inner) | arrays(inner), max_leaves=4)


@pytest.fixture(scope="module", params=["house", "tiny"])
def engine(request: pytest.FixtureRequest, house_bundle: Path, tiny_bundle: Callable[..., Path]) -> Engine:
    return load(house_bundle if request.param == "house" else tiny_bundle("llama", "int4"), threads=1)


def answer(engine: Engine, grammar: Grammar, params: SamplingParams, **options: Any) -> tuple[list[int], str]:
    prompt = options.pop("prompt", None) or engine.prompt.encode_text("My name is Bob. Say who I am as JSON.")
    generation = engine.generate(prompt, params, grammar=grammar, **options)
    ids = [token.id for token in generation]
    return ids, str(generation.stop_reason)


def text_of(engine: Engine, ids: list[int]) -> str:
    return str(engine.tokenizer.decode(ids, skip_special_tokens=False))


@given(schema=SCHEMAS, params=st.sampled_from(SAMPLINGS))
@QUICK
def test_an_answer_is_an_instance_of_its_schema(
    engine: Engine, schema: dict[str, Any], params: SamplingParams
) -> None:
    """Whatever the schema and the sampling: a finished answer parses and validates."""
    ids, reason = answer(engine, Grammar.json_schema(schema), params, max_tokens=180)
    if reason == "stop":
        jsonschema_rs.validate(schema, json.loads(text_of(engine, ids)))
    else:
        assert (reason, len(ids)) == ("length", 180)


@pytest.mark.parametrize("schema", [PERSON, TREE], ids=["person", "tree"])
@pytest.mark.parametrize("params", SAMPLINGS)
def test_an_answer_of_bounded_length_ends_by_itself(
    engine: Engine, schema: dict[str, Any], params: SamplingParams
) -> None:
    """When the grammar is complete the answer stops, and holds no control token."""
    ids, reason = answer(engine, Grammar.json_schema(schema), params, max_tokens=200)
    assert reason == "stop"
    jsonschema_rs.validate(schema, json.loads(text_of(engine, ids)))
    control = {id_ for id_, token in engine.tokenizer.get_added_tokens_decoder().items() if token.special}
    assert control.isdisjoint(ids)


@given(schema=SCHEMAS, params=st.sampled_from(SAMPLINGS))
@QUICK
def test_guesses_and_cache_change_nothing(
    engine: Engine, schema: dict[str, Any], params: SamplingParams
) -> None:
    """With drafts or without, with a cached prefix or cold: the same ids."""
    grammar = Grammar.json_schema(schema)
    cold, reason = answer(engine, grammar, params, max_tokens=60, speculate=False)
    assert answer(engine, grammar, params, max_tokens=60) == (cold, reason)
    engine.warm.put(engine.model.new_cache(), [])
    assert answer(engine, grammar, params, max_tokens=60) == (cold, reason)


@pytest.mark.parametrize("params", SAMPLINGS)
def test_an_answer_cut_anywhere_goes_on_as_if_it_had_not_been(
    house_bundle: Path, params: SamplingParams
) -> None:
    """Cut at every token and taken up by another engine, with no more than the ids and the grammar's text."""
    first, second = load(house_bundle, threads=1), load(house_bundle, threads=1)
    grammar = Grammar.json_schema(PERSON)
    prompt = first.prompt.encode_text("Bob is 9.")
    whole, reason = answer(first, grammar, params, prompt=prompt, max_tokens=200)
    assert reason == "stop"
    for cut in range(1, len(whole)):
        begun, why = answer(first, grammar, params, prompt=prompt, max_tokens=cut)
        assert (begun, why) == (whole[:cut], "length")
        rest = answer(
            second,
            Grammar(str(grammar.text)),
            params,
            prompt=[*prompt, *begun],
            prior_tokens=cut,
            max_tokens=200,
        )
        assert rest == (whole[cut:], "stop")


@given(params=st.builds(dataclasses.replace, st.sampled_from(SAMPLINGS), seed=st.integers(0, 999)))
@QUICK
def test_masks_depend_on_the_ids_alone(engine: Engine, params: SamplingParams) -> None:
    """The mask after some ids is the same whether masks were asked for on the way or not."""
    grammar = Grammar.json_schema(PERSON)
    ids, _ = answer(engine, grammar, params, max_tokens=120)
    stepwise = engine.grammars.constraint(grammar, 0)
    for at in range(len(ids)):
        mask = stepwise.allowed(ids[:at])
        stepwise.forced(ids[:at])
        assert mask[ids[at]]
        assert (mask == engine.grammars.constraint(grammar, 0).allowed(ids[:at])).all()


DEAD_END = {  # what `a` has to be, it cannot be
    "type": "object",
    "properties": {"is": {"type": "boolean"}, "a": {"$ref": "#/$defs/a"}},
    "required": ["is", "a"],
    "additionalProperties": False,
    "$defs": {"a": {"$ref": "#/$defs/a"}},
}


@pytest.mark.parametrize("speculate", [True, False])
@pytest.mark.parametrize("params", SAMPLINGS)
def test_a_dead_end_cuts_the_answer(engine: Engine, params: SamplingParams, speculate: bool) -> None:
    """Where the grammar turns out to have no way on, what was said is kept, and is told as cut."""
    grammar = Grammar.json_schema(DEAD_END)
    ids, reason = answer(engine, grammar, params, max_tokens=100, speculate=speculate)
    assert reason == "length"
    assert text_of(engine, ids) in ('{"is": true, "a": ', '{"is": false, "a": ')


def test_forced_ids_are_drafts(house_bundle: Path) -> None:
    """Where the schema leaves no choice a call of the model gives several ids."""
    engine = load(house_bundle, threads=1)
    calls = 0
    forward = engine.model.forward

    class Counting:
        context_tokens = engine.model.context_tokens

        def new_cache(self) -> Any:
            return engine.model.new_cache()

        def forward(self, ids: Any, cache: Any, rows: int = 1) -> Any:
            nonlocal calls
            calls += 1
            return forward(ids, cache, rows)

    counted = Engine(engine.manifest, Counting(), engine.prompt, engine.tokenizer)
    schema = {"const": {"a long key that is forced": "and a long value that is forced as well"}}
    ids, reason = answer(counted, Grammar.json_schema(schema), SAMPLINGS[0])
    assert reason == "stop"
    assert text_of(engine, ids) == json.dumps(schema["const"])
    assert calls < len(ids) / 3


@pytest.mark.parametrize("bound", [0, 3, -3, 99.0, 1_000_000])
@pytest.mark.parametrize("width", [0.5, 0.001])
@pytest.mark.parametrize("write", [narrowed, dict], ids=["narrowed", "as given"])
def test_an_excluded_bound_is_excluded(
    house_engine: Engine, bound: float, width: float, write: Callable[..., dict[str, Any]]
) -> None:
    """However near the other bound is, and however the number is written; what lies between stays."""
    eos = house_engine.manifest.tokens.eos[0]
    names = ("exclusiveMinimum", "maximum") if bound >= 0 else ("exclusiveMaximum", "minimum")
    other = bound + (width if bound >= 0 else -width)
    schema = {"type": "number", **dict(zip(names, (bound, other), strict=True))}

    def accepts(text: str) -> bool:
        constraint = house_engine.grammars.constraint(Grammar.json_schema(write(schema)), 0)
        ids = house_engine.tokenizer.encode(text, add_special_tokens=False).ids
        return constraint.followed([], ids) == len(ids) and bool(constraint.allowed(ids)[eos])

    for text in (f"{bound:.0f}", f"{bound:.1f}", f"{bound:.3f}", f"-{bound:.0f}"):
        assert not accepts(text), text
    for text in (f"{other}", f"{round((bound + other) / 2, 6)}"):
        assert accepts(text), text


def test_free_text_until_a_trigger_and_then_json(engine: Engine) -> None:
    """A Lark grammar may leave the text free, end anywhere in it, and bind what follows a trigger."""
    rule = json_rule({"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]})
    text = f'start: TEXT | call\nTEXT: /[^!](.|\\n)*/\ncall: "!call " body\nbody: {rule}\n'
    constraint = engine.grammars.constraint(Grammar.lark(text), 0)
    ids = engine.tokenizer.encode("Hello", add_special_tokens=False).ids
    assert constraint.allowed(ids)[list(engine.manifest.tokens.eos)].all()
    called, _ = answer(
        engine, Grammar.lark(f'start: "!call " body\nbody: {rule}\n'), SAMPLINGS[0], max_tokens=20
    )
    assert text_of(engine, called).startswith('!call {"x": ')


def test_a_stream_of_constrained_text_joins_to_the_whole(house_bundle: Path) -> None:
    """Pieces of text join to JSON, multi-byte characters included."""
    engine = load(house_bundle, threads=1)
    prompt = engine.prompt.encode_text("你好")
    grammar = Grammar.json_schema({"type": "array", "items": {"enum": ["睡鼠", "🐭"]}, "maxItems": 3})
    tokens = engine.generate(prompt, SAMPLINGS[1], grammar=grammar, max_tokens=40)
    assert isinstance(json.loads("".join(p.text for p in TextStream(tokens, engine.tokenizer))), list)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"not": {"type": "string"}}, "not"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "object", "propertyNames": {"maxLength": 3}}, "propertyNames"),
        ({"type": "string", "format": "no-such"}, "no-such"),
        ({"$ref": "https://example.com/schema"}, "example.com"),
        ({"type": "no-such"}, "no-such"),
        ({"type": "string", "pattern": "(?=a)b"}, "look"),
        ({"type": "string", "maxLength": 10**7}, "maxLength"),
        ({"properties": {"a": {"x-guidance": {"lenient": True}, "not": {}}}}, "x-guidance"),
        ({"x-guidance": {"lenient": True}, "not": {}}, "x-guidance"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "no answer"),
        ({"properties": {"a": {"$ref": "#"}}, "type": "object", "required": ["a"]}, "no choice"),
        ({"type": "object", "properties": {f"p{n}": {} for n in range(3000)}}, "complex"),
        ({"const": float("nan")}, "JSON"),
        ({"const": "\ud800"}, "JSON"),
    ],
)
def test_what_a_schema_asks_for_in_vain_is_refused(
    house_engine: Engine, schema: dict[str, Any], reason: str
) -> None:
    """Nothing in a schema is ignored: the error names what cannot be followed."""
    with pytest.raises(InvalidRequest, match=f"(?i){reason}"):
        house_engine.grammars.check(Grammar.json_schema(schema))


@pytest.fixture(scope="module")
def house_engine(house_bundle: Path) -> Engine:
    return load(house_bundle, threads=1)


def test_the_answer_so_far_must_follow_the_grammar(house_engine: Engine) -> None:
    """Ids that the grammar forbids cannot be gone on with."""
    prior = house_engine.prompt.encode_text("no JSON")
    with pytest.raises(InvalidRequest, match="grammar"):
        answer(
            house_engine,
            Grammar.json_schema({"type": "object"}),
            SAMPLINGS[0],
            prompt=[5, *prior],
            prior_tokens=len(prior),
        )
