"""Functions that the model calls: how calls are told, kept, answered, and what is refused."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent

from handler.engine.call_syntax import HERMES
from tests.unit.handler.conftest import Door, OpenDoor
from tests.unit.handler.scripted_engine import scripted_engine

CHAT, RESPONSES, CONVERSATIONS = "/v1/chat/completions", "/v1/responses", "/v1/conversations"
EVENT_TYPES: dict[str, Any] = {
    get_args(event.model_fields["type"].annotation)[0]: event
    for event in get_args(get_args(ResponseStreamEvent)[0])
}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": "weather", "description": "Tells it.", "parameters": CITY}
CHAT_TOOLS = [{"type": "function", "function": FUNCTION}]
TOOLS = [{"type": "function", **FUNCTION}]
ASK = [{"role": "user", "content": "Rain?"}]
OSLO, ROME = ({"city": city} for city in ("Oslo", "Rome"))
THOUGHT = "<think>\nRain?\n</think>\n\n"
TWO_CALLS = HERMES.separator.join(HERMES.write("weather", where) for where in (OSLO, ROME))


def open_saying(open_door: OpenDoor, *said: str, context_tokens: int = 2048) -> tuple[Door, list[str]]:
    """A model that says one thing after the other, and the list of prompts that it was given."""
    prompts: list[str] = []

    def reply(prompt: str) -> str:
        if not prompts or prompts[-1] != prompt:
            prompts.append(prompt)
        return said[min(len(prompts), len(said)) - 1]

    return open_door(scripted_engine(reply, context_tokens=context_tokens), streaming=True), prompts


def test_chat_answers_with_calls(open_door: OpenDoor) -> None:
    """Text and calls each have their place, the finish reason says so, and every generated id is counted."""
    door, _ = open_saying(open_door, f"Let me see.\n{TWO_CALLS}")
    answer = door.post(CHAT, messages=ASK, tools=CHAT_TOOLS).json
    choice = ChatCompletion.model_validate(answer).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me see."
    calls = choice.message.tool_calls or []
    assert [json.loads(call.function.arguments) for call in calls if call.type == "function"] == [OSLO, ROME]
    assert len({call.id for call in calls}) == 2
    assert answer["usage"]["completion_tokens"] > 60


@pytest.mark.parametrize("stream", [False, True])
def test_a_thought_is_told_as_without_functions(open_door: OpenDoor, stream: bool) -> None:
    """A model that thinks before it answers thinks before it calls, too, and its text is the same."""

    def content(said: str, **request: Any) -> str:
        door, _ = open_saying(open_door, said)
        made = door.post(CHAT, messages=ASK, stream=stream, **request)
        if not stream:
            return str(made.json["choices"][0]["message"]["content"])
        return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in made.events)

    said = f"{THOUGHT}Let me see."
    assert content(said) == content(said, tools=CHAT_TOOLS) == said
    assert content(f"{said}\n{TWO_CALLS}", tools=CHAT_TOOLS) == said
    assert content(f"{THOUGHT}{TWO_CALLS}", tools=CHAT_TOOLS) == THOUGHT.rstrip()


def test_a_call_alone_has_no_content(open_door: OpenDoor) -> None:
    """The content is null then, as in OpenAI's own answers."""
    door, _ = open_saying(open_door, HERMES.write("weather", OSLO))
    assert door.post(CHAT, messages=ASK, tools=CHAT_TOOLS).json["choices"][0]["message"]["content"] is None


def test_a_named_function_is_called_once(open_door: OpenDoor) -> None:
    """Of a function that is named there is one call, however many the model would make."""
    door, _ = open_saying(open_door, TWO_CALLS)
    named = {"type": "function", "function": {"name": "weather"}}
    several = door.post(CHAT, messages=ASK, tools=CHAT_TOOLS, tool_choice="required").json
    once = door.post(CHAT, messages=ASK, tools=CHAT_TOOLS, tool_choice=named).json
    assert [len(answer["choices"][0]["message"]["tool_calls"]) for answer in (several, once)] == [2, 1]


def test_chat_streams_calls(open_door: OpenDoor) -> None:
    """Id and name come first, the arguments in pieces, and all joins to the buffered answer."""
    door, _ = open_saying(open_door, f"Let me see.\n{TWO_CALLS}")
    chunks = door.post(CHAT, messages=ASK, tools=CHAT_TOOLS, stream=True).events
    deltas = [ChatCompletionChunk.model_validate(chunk).choices[0].delta for chunk in chunks]
    assert "".join(delta.content or "" for delta in deltas) == "Let me see."
    pieces = [call for delta in deltas for call in delta.tool_calls or []]
    for index, where in enumerate((OSLO, ROME)):
        first, *others = [piece for piece in pieces if piece.index == index]
        assert first.id
        assert first.function
        assert (first.function.name, first.function.arguments) == ("weather", "")
        assert len(others) > 3
        joined = "".join((other.function and other.function.arguments) or "" for other in others)
        assert json.loads(joined) == where
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_response_events_are_openais(open_door: OpenDoor) -> None:
    """Text and calls are items of their own, begun, told piece by piece and ended in order."""
    door, _ = open_saying(open_door, f"Let me see.\n{TWO_CALLS}")
    events = door.post(RESPONSES, input="Rain?", tools=TOOLS, stream=True).events
    for event in events:
        EVENT_TYPES[event["type"]].model_validate(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    begun = [event["output_index"] for event in events if event["type"] == "response.output_item.added"]
    ended = [event["output_index"] for event in events if event["type"] == "response.output_item.done"]
    assert begun == ended == [0, 1, 2]
    last = events[-1]["response"]
    Response.model_validate(last)
    assert [item["type"] for item in last["output"]] == ["message", "function_call", "function_call"]
    for index, where in ((1, OSLO), (2, ROME)):
        of = [event for event in events if event.get("output_index") == index]
        deltas = [event["delta"] for event in of if event["type"].endswith("arguments.delta")]
        assert "".join(deltas) == last["output"][index]["arguments"] == json.dumps(where)
        assert of[0]["item"]["arguments"] == ""
        assert of[-1]["item"] == last["output"][index]
    assert door.call("GET", f"{RESPONSES}/{last['id']}").json == last
    assert last["tools"][0]["name"] == "weather"


def test_a_round_trip_in_a_conversation(open_door: OpenDoor) -> None:
    """Call, result and answer are items of the conversation, and in the next prompt each in its place."""
    door, prompts = open_saying(open_door, HERMES.write("weather", OSLO), "It snows.")
    conversation = door.call("POST", CONVERSATIONS, {}).json["id"]
    ask = {"conversation": conversation, "tools": TOOLS}
    call = door.post(RESPONSES, input="Rain?", **ask).json["output"][0]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "Snow"}
    answered = door.post(RESPONSES, input=[result], **ask).json
    assert answered["output"][0]["content"][0]["text"] == "It snows."
    asked, called, given = (prompts[-1].index(text) for text in ("Rain?", '{"city": "Oslo"}', "Snow"))
    assert asked < called < given
    listed = door.call("GET", f"{CONVERSATIONS}/{conversation}/items?order=asc").json["data"]
    assert [item["type"] for item in listed] == [
        "message",
        "function_call",
        "function_call_output",
        "message",
    ]
    assert listed[1] == call
    one = door.call("GET", f"{CONVERSATIONS}/{conversation}/items/{listed[2]['id']}").json
    assert one == {"id": listed[2]["id"], "status": "completed", **result}
    inputs = door.call("GET", f"{RESPONSES}/{answered['id']}/input_items").json["data"]
    assert [item["id"] for item in inputs] == [listed[2]["id"]]


def test_input_items_leave_the_whole_answer_out(open_door: OpenDoor) -> None:
    """Of a response that said several things, only what the client sent is its input."""
    door, _ = open_saying(open_door, f"Let me see.\n{TWO_CALLS}")
    made = door.post(RESPONSES, input="Rain?", tools=TOOLS).json
    inputs = door.call("GET", f"{RESPONSES}/{made['id']}/input_items").json["data"]
    assert [item["content"][0]["text"] for item in inputs] == ["Rain?"]


def test_a_client_may_keep_the_history_itself(open_door: OpenDoor) -> None:
    """Everything sent along, calls exactly as they came, is as good as what is stored here."""
    door, prompts = open_saying(open_door, HERMES.write("weather", OSLO), "It snows.")
    output = door.post(RESPONSES, input="Rain?", tools=TOOLS, store=False).json["output"]
    result = {"type": "function_call_output", "call_id": output[0]["call_id"], "output": "Snow"}
    door.post(RESPONSES, input=[*ASK, *output, result], tools=TOOLS, store=False)
    told = prompts[-1]
    message = door.post(CHAT, messages=ASK, tools=CHAT_TOOLS).json["choices"][0]["message"]
    assert message["content"] == "It snows."
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": json.dumps(OSLO)}}
    history = [{"role": "assistant", "content": None, "tool_calls": [call]}]
    history += [{"role": "tool", "tool_call_id": "c1", "content": "Snow"}]
    door.post(CHAT, messages=[*ASK, *history], tools=CHAT_TOOLS)
    assert prompts[-1] == told


@pytest.mark.parametrize("text", ["Let me see.", f"{THOUGHT}Let me see."], ids=["text", "thought"])
def test_a_call_cut_anywhere_is_told_whole_when_continued(open_door: OpenDoor, text: str) -> None:
    """Wherever the limit cut it, the continuation has the very call, and the next prompt has it once."""
    said = f"{text}\n{HERMES.write('weather', OSLO)}"
    for cut in range(1, 44):
        door, prompts = open_saying(open_door, said)
        first = door.post(RESPONSES, input="Rain?", tools=TOOLS, max_output_tokens=cut).json
        assert first["status"] == "incomplete"
        events = door.post(RESPONSES, previous_response_id=first["id"], stream=True).events
        for event in events:
            EVENT_TYPES[event["type"]].model_validate(event)
        rest = events[-1]["response"]
        calls = [item for item in (*first["output"], *rest["output"]) if item["type"] == "function_call"]
        whole = [call for call in calls if call["status"] == "completed"]
        assert [json.loads(call["arguments"]) for call in whole] == [OSLO]
        assert len({call["call_id"] for call in calls}) == 1
        deltas = [event["delta"] for event in events if event["type"].endswith("arguments.delta")]
        assert "".join(deltas) in ("", whole[0]["arguments"])
        texts = [
            part["text"]
            for made in (first, rest)
            for item in made["output"]
            for part in item.get("content", ())
        ]
        assert "".join(texts) == text
        result = {"type": "function_call_output", "call_id": whole[0]["call_id"], "output": "Snow"}
        door.post(RESPONSES, input=[result], previous_response_id=rest["id"], max_output_tokens=1)
        assert prompts[-1].count("Oslo") == 1


def test_a_call_that_was_cut_may_be_sent_back(open_door: OpenDoor) -> None:
    """It comes into a conversation as it is, is in no prompt, and nothing answers it; a whole one is JSON."""
    door, prompts = open_saying(open_door, HERMES.write("weather", OSLO), "OK.")
    made = door.post(RESPONSES, input="Rain?", tools=TOOLS, max_output_tokens=45).json
    (cut,) = made["output"]
    assert (cut["status"], cut["arguments"]) == ("incomplete", '{"city": "Oslo')
    conversation = door.call("POST", CONVERSATIONS, {"items": [*ASK, cut]}).json["id"]
    listed = door.call("GET", f"{CONVERSATIONS}/{conversation}/items").json["data"]
    assert {**listed[0], "id": cut["id"]} == cut
    door.post(RESPONSES, input="Well?", conversation=conversation)
    door.post(RESPONSES, input=[*ASK, cut, {"role": "user", "content": "Well?"}], store=False)
    assert len(prompts) == 2  # both had the same
    assert "Oslo" not in prompts[1]
    result = {"type": "function_call_output", "call_id": cut["call_id"], "output": "Snow"}
    for wrong, param in (
        ([cut, result], "input[1].call_id"),
        ([{**cut, "status": None}], "input[0].arguments"),
    ):
        refused = door.post(RESPONSES, input=wrong)
        assert (refused.status, refused.json["error"]["param"]) == (400, param)


def test_a_result_may_name_its_function(open_door: OpenDoor) -> None:
    """Many clients write the function's name beside the call's id; another function's is refused."""
    door, _ = open_saying(open_door, HERMES.write("weather", OSLO), "It snows.")
    made = door.post(CHAT, messages=ASK, tools=CHAT_TOOLS).json["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": made["tool_calls"][0]["id"], "content": "Snow"}
    answers = [
        door.post(CHAT, messages=[*ASK, made, {**result, "name": name}]) for name in ("weather", "time")
    ]
    assert answers[0].json["choices"][0]["message"]["content"] == "It snows."
    assert (answers[1].status, answers[1].json["error"]["param"]) == (400, "messages[2].name")


def test_what_openais_helpers_add_may_be_sent_back(open_door: OpenDoor) -> None:
    """`parsed` and `parsed_arguments` repeat what an answer says: with them its items are what they are."""
    door, _ = open_saying(open_door, f"See.\n{HERMES.write('weather', OSLO)}")
    text, call = door.post(RESPONSES, input="Rain?", tools=TOOLS, store=False).json["output"]
    text["content"][0]["parsed"], call["parsed_arguments"] = {"a": 1}, OSLO
    conversation = door.call("POST", CONVERSATIONS, {"items": [text, call]}).json["id"]
    listed = door.call("GET", f"{CONVERSATIONS}/{conversation}/items?order=asc").json["data"]
    assert listed[0]["content"][0]["text"] == "See."
    assert listed[1]["arguments"] == json.dumps(OSLO)
    assert door.post(RESPONSES, input=[*ASK, text, call, *ASK], tools=TOOLS).status == 200


def test_stop_strings_do_not_cut_calls(open_door: OpenDoor) -> None:
    """A stop string ends text; in a call's arguments it is one word among others."""
    door, _ = open_saying(open_door, f"See.\n{HERMES.write('weather', OSLO)}")
    made = door.post(CHAT, messages=ASK, tools=CHAT_TOOLS, stop=["Oslo"]).json["choices"][0]
    assert made["message"]["tool_calls"][0]["function"]["arguments"] == json.dumps(OSLO)
    stopped = door.post(CHAT, messages=ASK, tools=CHAT_TOOLS, stop=["e."]).json["choices"][0]
    assert (stopped["message"]["content"], stopped["finish_reason"]) == ("Se", "stop")


def test_logprobs_belong_to_the_text(open_door: OpenDoor) -> None:
    """A response's log-probabilities are those of its message; the calls have no place for them."""
    door, _ = open_saying(open_door, f"See.\n{HERMES.write('weather', OSLO)}")
    made = door.post(RESPONSES, input="Rain?", tools=TOOLS, top_logprobs=0).json
    entries = made["output"][0]["content"][0]["logprobs"]
    assert "".join(entry["token"] for entry in entries) == "See."


def test_a_result_never_stands_without_its_call(open_door: OpenDoor) -> None:
    """Where the turn with the call is dropped, or the call was deleted, its result goes too, and is told."""
    door, prompts = open_saying(open_door, "OK.", context_tokens=300)
    call = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": json.dumps(OSLO)}
    result = {"type": "function_call_output", "call_id": "c1", "output": "Snow"}
    items = [{"role": "user", "content": "Rain? " * 20}, call, {"role": "user", "content": "Well?"}, result]
    conversation = door.call("POST", CONVERSATIONS, {"items": items}).json["id"]
    ask = {"conversation": conversation, "input": "And now? " * 12, "truncation": "auto"}
    dropped = door.post(RESPONSES, **ask).json["dormouse"]["dropped_items"]
    listed = door.call("GET", f"{CONVERSATIONS}/{conversation}/items?order=asc").json["data"]
    assert set(dropped) >= {listed[at]["id"] for at in (0, 1, 3)}
    assert "Snow" not in prompts[-1]
    conversation = door.call("POST", CONVERSATIONS, {"items": items[1:]}).json["id"]
    listed = door.call("GET", f"{CONVERSATIONS}/{conversation}/items?order=asc").json["data"]
    door.call("DELETE", f"{CONVERSATIONS}/{conversation}/items/{listed[0]['id']}")
    made = door.post(RESPONSES, conversation=conversation, input="And now?").json
    assert made["dormouse"]["dropped_items"] == [listed[2]["id"]]
    assert "Snow" not in prompts[-1]


@pytest.mark.parametrize("choice", ["none", None])
def test_what_is_not_offered_is_not_called(open_door: OpenDoor, choice: str | None) -> None:
    """With "none", or no tools, the model is not shown any, and what looks like a call is text."""
    said = HERMES.write("weather", OSLO)
    door, prompts = open_saying(open_door, said)
    offered = {"tools": CHAT_TOOLS, "tool_choice": "none"} if choice else {}
    made = door.post(CHAT, messages=ASK, **offered).json["choices"][0]
    assert (made["message"]["content"], made["finish_reason"]) == (said, "stop")
    assert "Tells it." not in prompts[-1]


def test_a_continued_answer_keeps_its_tools(open_door: OpenDoor) -> None:
    """The same tools may be sent again; others would make another answer of it."""
    door, _ = open_saying(open_door, HERMES.write("weather", OSLO))
    cut = door.post(RESPONSES, input="Rain?", tools=TOOLS, max_output_tokens=20).json
    other = [{"type": "function", "name": "time"}]
    refused = door.post(RESPONSES, previous_response_id=cut["id"], tools=other)
    assert (refused.status, refused.json["error"]["param"]) == (400, "tools")
    again = door.post(RESPONSES, previous_response_id=cut["id"], tools=TOOLS).json
    assert again["tools"] == cut["tools"]
    assert again["output"][0]["status"] == "completed"


def test_divisibility_is_bounded_over_all_functions(open_door: OpenDoor) -> None:
    """Compiling takes time by the sum of all multiples; too many are refused before, few are taken."""
    door, _ = open_saying(open_door, "No.")

    def asked(functions: int, multiple: int) -> Any:
        tools = [
            {
                "type": "function",
                "name": f"f{at}",
                "parameters": {
                    "type": "object",
                    "properties": {"x": {"type": "integer", "multipleOf": multiple + at}},
                },
            }
            for at in range(functions)
        ]
        return door.post(RESPONSES, input="Rain?", tools=tools)

    assert asked(8, 60).status == 200
    error = asked(128, 9_000).json["error"]
    assert (error["param"], "multipleOf" in error["message"]) == ("tools", True)
    error = asked(2, 10_000).json["error"]  # one that is too large alone is told by its place
    assert error["param"] == "tools[1].parameters"
