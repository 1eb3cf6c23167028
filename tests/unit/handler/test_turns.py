"""Properties of turns: continued answers are one message, events are OpenAI's own, overflow is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import ResponseStreamEvent

from tests.unit.handler.conftest import Door, OpenDoor, opened
from tests.unit.handler.scripted_engine import scripted_engine

RESPONSES = "/v1/responses"
EVENT_TYPES: dict[str, Any] = {
    get_args(event.model_fields["type"].annotation)[0]: event
    for event in get_args(get_args(ResponseStreamEvent)[0])
}


class Parrot:
    """A model that says what it is given to say."""

    def __init__(self) -> None:
        self.said = ""

    def __call__(self, prompt: str) -> str:
        return self.said


@pytest.fixture(scope="module")
def parrot() -> Iterator[tuple[Parrot, Door]]:
    """The parrot, and the door to it."""
    bird = Parrot()
    with opened(scripted_engine(bird)) as door:
        yield bird, door


@settings(max_examples=80, deadline=None)
@given(said=st.text(alphabet="Hello 你好🐭\n.", max_size=40), top_logprobs=st.sampled_from([None, 0, 2]))
def test_events_are_openais(parrot: tuple[Parrot, Door], said: str, top_logprobs: int | None) -> None:
    """Every event is one that OpenAI's own types know, numbered in a row, and the deltas join to the text."""
    bird, door = parrot
    bird.said = said
    extra = {} if top_logprobs is None else {"top_logprobs": top_logprobs}
    answer = door.post(RESPONSES, input="Hi", stream=True, **extra)
    for event in answer.events:
        EVENT_TYPES[event["type"]].model_validate(event)
    assert [event["sequence_number"] for event in answer.events] == list(range(len(answer.events)))
    deltas = [event["delta"] for event in answer.events if event["type"] == "response.output_text.delta"]
    last = answer.events[-1]["response"]
    assert "".join(deltas) == said == text_of(last)
    assert door.call("GET", f"{RESPONSES}/{last['id']}").json == last


def text_of(response: Any) -> str:
    """A response's text."""
    return str(response["output"][0]["content"][0]["text"])


def test_a_continued_answer_is_one_message_again(open_door: OpenDoor) -> None:
    """After an answer was cut and continued, the next turn's prompt holds it whole and in one message."""
    prompts: list[str] = []

    def reply(prompt: str) -> str:
        prompts.append(prompt)
        return "Hello, how are you?"

    door = open_door(scripted_engine(reply))
    cut = door.post(RESPONSES, input="Hi", max_output_tokens=2).json
    rest = door.post(RESPONSES, previous_response_id=cut["id"]).json
    assert text_of(cut) + text_of(rest) == "Hello, how are you?"
    door.post(RESPONSES, input="Fine", previous_response_id=rest["id"])
    assert "assistant\nHello, how are you?<|im_end|>\n<|im_start|>user\nFine" in prompts[-1]


@pytest.mark.parametrize("change", [{"temperature": 1.0}, {"seed": 4}, {"top_p": 0.5}])
def test_a_continued_answer_keeps_its_parameters(open_door: OpenDoor, change: dict[str, Any]) -> None:
    """Other parameters would make another answer of it, so they are refused, by name."""
    door = open_door()
    cut = door.post(RESPONSES, input="Hi", max_output_tokens=2, seed=3).json
    refused = door.post(RESPONSES, previous_response_id=cut["id"], **change)
    assert (refused.status, refused.json["error"]["param"]) == (400, next(iter(change)))


def test_a_whole_answer_is_not_continued(open_door: OpenDoor) -> None:
    """Empty input after a complete response has nothing to go on with."""
    door = open_door()
    whole = door.post(RESPONSES, input="Hi").json
    refused = door.post(RESPONSES, previous_response_id=whole["id"])
    assert (refused.status, refused.json["error"]["param"]) == (400, "input")


def test_dropped_turns_are_told(open_door: OpenDoor) -> None:
    """With `truncation: auto` whole oldest turns go, the instructions stay, and the answer lists what is
    gone."""
    prompts: list[str] = []

    def reply(prompt: str) -> str:
        prompts.append(prompt)
        return "OK."

    door = open_door(scripted_engine(reply, context_tokens=160))
    conversation = door.call("POST", "/v1/conversations", {}).json["id"]
    ask = {"conversation": conversation, "instructions": "Be brief."}
    for number in range(6):
        made = door.post(RESPONSES, input=f"Message {number}, and more.", truncation="auto", **ask).json
    items = door.call("GET", f"/v1/conversations/{conversation}/items?order=asc").json["data"]
    dropped = made["dormouse"]["dropped_items"]
    assert dropped
    assert len(dropped) % 2 == 0
    assert dropped == [item["id"] for item in items[: len(dropped)]]
    assert "Be brief." in prompts[-1]
    assert "Message 0" not in prompts[-1]
    assert "Message 5" in prompts[-1]
    refused = door.post(RESPONSES, input="Hi", **ask)
    assert refused.json["error"]["code"] == "context_length_exceeded"
