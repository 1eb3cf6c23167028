"""Function calling with the official client, and an embedded model that was never taught it."""

from __future__ import annotations

import json
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel, Field

MODEL = "dormouse-house"
CITY = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "enum": ["Oslo", "Rome"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}
CHAT_TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": CITY, "strict": True}}]
TOOLS: Any = [{"type": "function", "name": "weather", "parameters": CITY, "strict": True}]
ASK: Any = {"messages": [{"role": "user", "content": "Rain in Oslo?"}], "model": MODEL, "tools": CHAT_TOOLS}
NAMED: Any = {"type": "function", "name": "weather"}


class Weather(BaseModel):
    """The same as a client's own type."""

    city: Literal["Oslo", "Rome"]
    days: int = Field(ge=1, le=9)


@pytest.fixture
def house(house_server: str) -> openai.OpenAI:
    """OpenAI's client for the embedded model."""
    return openai.OpenAI(base_url=f"{house_server}/v1", api_key="none", max_retries=0, timeout=120)


def check(arguments: str) -> None:
    """Arguments keep to the schema."""
    given = json.loads(arguments)
    assert given["city"] in ("Oslo", "Rome")
    assert given["days"] in range(1, 10)
    assert len(given) == 2


def send_back(house: Any, message: Any) -> Any:
    """Send the model's message as it came, with the result of its one call."""
    (call,) = message.tool_calls
    result = {"role": "tool", "tool_call_id": call.id, "content": "Rain."}
    ask = {**ASK, "messages": [*ASK["messages"], message, result]}
    return house.chat.completions.create(**ask, tool_choice="none", max_tokens=20)


def test_chat_round_trip(house: Any) -> None:
    """Call, result, answer: the messages that came are sent back as they are."""
    made = house.chat.completions.create(**ASK, tool_choice="required", parallel_tool_calls=False)
    choice = made.choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    (call,) = choice.message.tool_calls
    check(call.function.arguments)
    answer = send_back(house, choice.message)
    assert answer.choices[0].message.tool_calls is None
    assert answer.usage.prompt_tokens > 0


@pytest.mark.parametrize("stream", [False, True])
def test_round_trip_of_the_helpers(house: Any, stream: bool) -> None:
    """What `parse()` and `stream()` make of an answer is sent back as it is, with all that they add to it."""
    tool = openai.pydantic_function_tool(Weather, name="weather")
    ask = {**ASK, "tools": [tool], "tool_choice": "required", "parallel_tool_calls": False}
    if stream:
        with house.chat.completions.stream(**ask) as events:
            message = events.get_final_completion().choices[0].message
    else:
        message = house.chat.completions.parse(**ask).choices[0].message
    (call,) = message.tool_calls
    assert isinstance(call.function.parsed_arguments, Weather)
    assert send_back(house, message).choices[0].message.content is not None


def test_chat_stream_helper(house: Any) -> None:
    """`chat.completions.stream()` puts the call together again and parses its arguments."""
    with house.chat.completions.stream(**ASK, tool_choice="required", parallel_tool_calls=False) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert "tool_calls.function.arguments.done" in kinds
    (call,) = final.choices[0].message.tool_calls
    check(call.function.arguments)
    assert final.choices[0].finish_reason == "tool_calls"


def test_response_stream_helper(house: Any) -> None:
    """`responses.stream()` follows the call item from its beginning to its end."""
    with house.responses.stream(
        model=MODEL, input="Rain?", tools=TOOLS, tool_choice=NAMED, parallel_tool_calls=False
    ) as stream:
        snapshots = [e.snapshot for e in stream if e.type == "response.function_call_arguments.delta"]
        final = stream.get_final_response()
    (call,) = final.output
    assert call.type == "function_call"
    assert snapshots[-1] == call.arguments
    check(call.arguments)


@pytest.mark.parametrize("stream", [False, True])
def test_round_trip_in_a_conversation(house: Any, stream: bool) -> None:
    """Only what is new is sent: the question, then the result under the call's id."""
    conversation = house.conversations.create().id
    ask = {"model": MODEL, "conversation": conversation, "tools": TOOLS, "parallel_tool_calls": False}

    def respond(**more: Any) -> Any:
        made = house.responses.create(**ask, **more, stream=stream)
        return list(made)[-1].response if stream else made

    (call,) = respond(input="Rain in Oslo?", tool_choice="required").output
    check(call.arguments)
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "Rain."}
    answer = respond(input=[result], tool_choice="none", max_output_tokens=20)
    assert answer.output[0].type == "message"
    items = list(house.conversations.items.list(conversation, order="asc"))
    assert [item.type for item in items] == ["message", "function_call", "function_call_output", "message"]
    assert items[2].output == "Rain."
    assert [item.type for item in house.responses.input_items.list(answer.id)] == ["function_call_output"]


def test_several_calls_in_one_answer(house: Any) -> None:
    """With parallel calls there is at least one, each with an id of its own and whole but for the last."""
    made = house.responses.create(
        model=MODEL,
        input="Rain in Oslo? Rain in Rome?",
        tools=TOOLS,
        tool_choice="required",
        max_output_tokens=400,
    )
    assert len({call.call_id for call in made.output}) == len(made.output) >= 1
    for call in made.output:
        if call.status == "completed":
            check(call.arguments)


def test_auto_leaves_the_choice_to_the_model(house: Any) -> None:
    """Text or calls, and either way an answer that the client's types take."""
    made = house.responses.create(model=MODEL, input="Hello!", tools=TOOLS, max_output_tokens=40)
    assert made.tool_choice == "auto"
    assert made.tools[0].name == "weather"
    assert {item.type for item in made.output} <= {"message", "function_call"}


def test_a_format_is_for_answers_without_calls(house: Any) -> None:
    """Beside tools a format holds for the text, and calls are as they always are."""
    schema = {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"]}
    form = {
        "format": {
            "type": "json_schema",
            "name": "verdict",
            "schema": {**schema, "additionalProperties": False},
        }
    }
    ask = {"model": MODEL, "input": "Rain?", "tools": TOOLS, "text": form, "parallel_tool_calls": False}
    (item,) = house.responses.create(**ask).output
    if item.type == "message":
        assert json.loads(item.content[0].text)["yes"] in (True, False)
    else:
        check(item.arguments)
    (call,) = house.responses.create(**ask, tool_choice="required").output
    check(call.arguments)
