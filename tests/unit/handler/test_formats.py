"""Asking for JSON: both APIs' spellings, what is echoed, what is refused, and how a cut answer goes on."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest

from tests.unit.handler.conftest import Door, OpenDoor
from tests.unit.handler.scripted_engine import MODEL, noisy_engine

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
HI = [{"role": "user", "content": "Hi"}]
SCHEMA = {
    "type": "object",
    "properties": {
        "mood": {"enum": ["good", "bad", "好"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
        "word": {"type": "string", "maxLength": 5},
    },
    "required": ["mood", "count", "word"],
    "additionalProperties": False,
}
NAMED = {"name": "mood", "schema": SCHEMA, "strict": True}
CHAT_FORMAT = {"type": "json_schema", "json_schema": NAMED}
TEXT_FORMAT = {"type": "json_schema", **NAMED}


@pytest.fixture
def noisy(open_door: OpenDoor) -> Door:
    """A model that says anything."""
    return open_door(noisy_engine(), streaming=True)


def said(response: dict[str, Any]) -> str:
    """A response's text."""
    return str(response["output"][0]["content"][0]["text"])


@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"temperature": 1.5, "seed": 3, "n": 3}])
def test_a_chat_completion_follows_its_schema(noisy: Door, sampling: dict[str, Any]) -> None:
    """Every choice of a model that says anything is an instance, and ends by itself."""
    answer = noisy.post(CHAT, messages=HI, response_format=CHAT_FORMAT, **sampling).json
    for choice in answer["choices"]:
        assert choice["finish_reason"] == "stop"
        jsonschema_rs.validate(SCHEMA, json.loads(choice["message"]["content"]))


def test_a_number_has_an_end(noisy: Door) -> None:
    """Where a schema sets no bounds, an integer ends before it is one that no reader of JSON holds."""
    schema = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "count", "schema": schema}}
    answer = noisy.post(CHAT, messages=HI, response_format=wanted, temperature=2, n=8, seed=1).json
    assert {choice["finish_reason"] for choice in answer["choices"]} == {"stop"}
    counts = [json.loads(choice["message"]["content"])["count"] for choice in answer["choices"]]
    assert max(map(abs, counts)) < 2**53


def test_a_stream_has_the_text_of_the_whole(noisy: Door) -> None:
    """The deltas join to the JSON of the buffered answer."""
    ask = {"messages": HI, "response_format": CHAT_FORMAT, "seed": 4, "temperature": 1}
    whole = noisy.post(CHAT, **ask).json["choices"][0]["message"]["content"]
    events = noisy.post(CHAT, **ask, stream=True).events
    assert "".join(event["choices"][0]["delta"].get("content") or "" for event in events) == whole
    jsonschema_rs.validate(SCHEMA, json.loads(whole))


def test_json_object_begins_an_object(noisy: Door) -> None:
    """Any object will do, and nothing but one; cut short it is told as ever."""
    answer = noisy.post(CHAT, messages=HI, response_format={"type": "json_object"}, max_tokens=5, seed=1).json
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["choices"][0]["message"]["content"].startswith("{")


@pytest.mark.parametrize("format_", [{"type": "text"}, {"type": "json_object"}, TEXT_FORMAT])
def test_a_response_tells_its_format(noisy: Door, format_: dict[str, Any]) -> None:
    """`text.format` comes back as it was asked for, from the store too."""
    made = noisy.post(RESPONSES, input="Hi", text={"format": format_}, max_output_tokens=4).json
    assert {key: value for key, value in made["text"]["format"].items() if value is not None} == format_
    assert noisy.call("GET", f"{RESPONSES}/{made['id']}").json == made


@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"temperature": 1.2, "repetition_penalty": 1.2}])
def test_a_response_cut_anywhere_goes_on_under_its_schema(noisy: Door, sampling: dict[str, Any]) -> None:
    """Continued with empty input at every token, the parts join to the answer that was never cut."""
    ask = {"input": "Hi", "text": {"format": TEXT_FORMAT}, "seed": 5, **sampling}
    whole = noisy.post(RESPONSES, **ask).json
    assert whole["status"] == "completed"
    jsonschema_rs.validate(SCHEMA, json.loads(said(whole)))
    for cut in range(1, whole["usage"]["output_tokens"]):
        begun = noisy.post(RESPONSES, **ask, max_output_tokens=cut).json
        assert begun["status"] == "incomplete"
        rest = noisy.post(RESPONSES, previous_response_id=begun["id"]).json
        assert said(begun) + said(rest) == said(whole)
        assert (rest["status"], rest["text"]) == ("completed", whole["text"])


def test_a_continued_response_keeps_its_format(noisy: Door) -> None:
    """Another format would make another answer of it; the same one may be said again."""
    cut = noisy.post(RESPONSES, input="Hi", text={"format": TEXT_FORMAT}, max_output_tokens=3).json
    ask = {"previous_response_id": cut["id"], "max_output_tokens": 1}
    refused = noisy.post(RESPONSES, **ask, text={"format": {"type": "text"}})
    assert (refused.status, refused.json["error"]["param"]) == (400, "text.format")
    assert noisy.post(RESPONSES, **ask, text={"format": TEXT_FORMAT}).status == 200


TINY = {  # nine decimals hold no such number
    "type": "object",
    "properties": {"x": {"type": "number", "minimum": 1e-10, "maximum": 5e-10}},
    "required": ["x"],
}
NAMED_ELSEWHERE = {
    "type": "object",
    "$defs": {"said": {"type": "object", "properties": {"mood": {"enum": ["good", "bad"]}}}},
    "$ref": "#/$defs/said",
    "properties": {"sure": {"type": "boolean"}},
    "required": ["mood", "sure"],
}


@pytest.mark.parametrize("schema", [TINY, NAMED_ELSEWHERE], ids=["tiny", "named elsewhere"])
def test_a_schema_with_nothing_left_when_narrowed_is_followed_as_it_is(
    noisy: Door, schema: dict[str, Any]
) -> None:
    """What is taken out for a small model's sake is never a reason to refuse a schema, nor a function."""
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    asked = {"messages": HI, "max_tokens": 60, "temperature": 1, "seed": 2, "n": 3}
    choices = noisy.post(CHAT, **asked, response_format=wanted).json["choices"]
    for choice in choices:
        if choice["finish_reason"] == "stop":
            jsonschema_rs.validate(schema, json.loads(choice["message"]["content"]))
    tools = [{"type": "function", "function": {"name": "tell", "parameters": schema}}]
    assert noisy.post(CHAT, **asked, tools=tools, tool_choice="required").status == 200


def optional(count: int) -> dict[str, Any]:
    """An object with so many properties that may be left out."""
    return {"type": "object", "properties": {f"p{at}": {} for at in range(count)}}


def test_an_object_may_have_many_optional_properties(noisy: Door) -> None:
    """Some hundreds that may all be left out are no reason to refuse a schema."""
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": optional(600)}}
    assert noisy.post(CHAT, messages=HI, max_tokens=3, response_format=wanted).status == 200


COSTLY = {  # it compiles; one token more takes ever longer
    "type": "object",
    "properties": {"a": {"type": "string", "pattern": "^(((a|b){1,30}){1,30}){50,60}$"}},
    "required": ["a"],
}


def test_what_cannot_be_followed_any_further_is_cut(noisy: Door) -> None:
    """An answer that is under way is kept and told as cut; the next one begins as if there had been none."""
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": COSTLY}}
    ask = {"messages": HI, "response_format": wanted, "seed": 1, "temperature": 1}
    first, second = (noisy.post(CHAT, **ask).json["choices"][0] for _ in range(2))
    assert first["finish_reason"] == "length"
    assert len(first["message"]["content"]) < len('{"a": "') + 50
    assert first["message"]["content"].startswith('{"a": "')
    assert second == first
    events = noisy.post(CHAT, **ask, stream=True).events
    assert (
        "".join(event["choices"][0]["delta"].get("content") or "" for event in events)
        == (first["message"]["content"])
    )
    text = {"format": {"type": "json_schema", "name": "a", "schema": COSTLY}}
    last = noisy.post(RESPONSES, input="Hi", text=text, seed=1, stream=True).events[-1]
    assert last["type"] == "response.incomplete"
    assert said(last["response"]).startswith('{"a": "')


BAD = {"not": {"type": "string"}}
ENDLESS = {
    "$ref": "#/$defs/n",
    "$defs": {"n": {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}, "required": ["n"]}},
}
EMPTY = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", [CHAT, RESPONSES])
@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (BAD, '"not"'),
        (EMPTY, "no answer follows it"),
        (ENDLESS, "context is 512 tokens"),
        (optional(3000), "too complex"),
    ],
    ids=["keyword", "empty", "endless", "too many"],
)
def test_a_schema_that_cannot_be_followed_is_refused(
    noisy: Door, path: str, schema: dict[str, Any], reason: str, stream: bool
) -> None:
    """Before the first byte, with the field and what is wrong, whether or not it compiles."""
    if path == CHAT:
        wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
        body, param = {"messages": HI, "response_format": wanted}, "response_format.json_schema.schema"
    else:
        form = {"type": "json_schema", "name": "a", "schema": schema}
        body, param = {"input": "Hi", "text": {"format": form}}, "text.format.schema"
    refused = noisy.post(path, **body, stream=stream)
    assert (refused.status, refused.json["error"]["param"]) == (400, param)
    assert reason in refused.json["error"]["message"]


def test_a_function_is_refused_in_a_schemas_words(noisy: Door) -> None:
    """What is wrong with a schema is told alike, in one sentence, wherever the schema stands."""
    schema = {"type": "object", "properties": {"a": BAD}}
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    tools = [{"type": "function", "function": {"name": "tell", "parameters": schema}}]
    refused = [
        noisy.post(CHAT, messages=HI, **one) for one in ({"response_format": wanted}, {"tools": tools})
    ]
    told = [answer.json["error"]["message"].partition("': ")[2] for answer in refused]
    assert told[0] == told[1]
    assert '"not"' in told[0]


@pytest.mark.parametrize(
    ("format_", "param"),
    [
        ({"type": "xml"}, "response_format.type"),
        ({"type": "json_schema"}, "response_format.json_schema"),
        ({"type": "json_schema", "json_schema": {"name": "a"}}, "response_format.json_schema.schema"),
        (
            {"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}},
            "response_format.json_schema.name",
        ),
        ({"type": "json_object", "schema": {}}, "response_format.schema"),
    ],
)
def test_a_format_that_is_none_is_refused(noisy: Door, format_: dict[str, Any], param: str) -> None:
    """The error names the field that is wrong or missing."""
    refused = noisy.call("POST", CHAT, {"model": MODEL, "messages": HI, "response_format": format_})
    assert (refused.status, refused.json["error"]["param"]) == (400, param)
