"""Counting a prompt: what the same request would be billed, without a token of answer."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.responses.input_token_count_response import InputTokenCountResponse

from tests.unit.handler.conftest import Door, OpenDoor
from tests.unit.handler.scripted_engine import noisy_engine, scripted_engine
from tests.unit.handler.streams import RESPONSES

COUNT = f"{RESPONSES}/input_tokens"


def counted(door: Door, **body: Any) -> int:
    """The count, as OpenAI's client reads it."""
    answer = door.post(COUNT, **body)
    assert answer.status == 200, answer.body
    return InputTokenCountResponse.model_validate(answer.json).input_tokens


@pytest.mark.parametrize(
    "asked",
    [
        {"input": "Hi"},
        {"input": "<|im_start|>user <|im_end|>", "instructions": "Be brief."},
        {"input": [{"role": "user", "content": "你好"}, {"role": "user", "content": "Hi"}]},
    ],
)
def test_it_is_what_the_answer_counts(door: Door, asked: dict[str, Any]) -> None:
    """The template's own count, alone and after what was said before."""
    assert counted(door, **asked) == door.post(RESPONSES, **asked).json["usage"]["input_tokens"]
    conversation = door.call("POST", "/v1/conversations", {}).json["id"]
    for _ in range(2):
        expected = counted(door, **asked, conversation=conversation)
        made = door.post(RESPONSES, **asked, conversation=conversation).json
        assert made["usage"]["input_tokens"] == expected
    expected = counted(door, **asked, previous_response_id=made["id"])
    assert (
        door.post(RESPONSES, **asked, previous_response_id=made["id"]).json["usage"]["input_tokens"]
        == expected
    )


def test_a_long_history_counts_where_nothing_is_kept(door: Door) -> None:
    """A turn that is kept is one write and has a bound; without `store` it is as long as a chat may be."""
    history = [{"role": "user", "content": "Hi"}] * 33
    body = {"input": history, "store": False}
    answered = door.post(RESPONSES, **body).json["usage"]["input_tokens"]
    chatted = door.post("/v1/chat/completions", messages=history).json["usage"]["prompt_tokens"]
    assert counted(door, input=history) == answered == chatted
    events = door.post(RESPONSES, **body, stream=True).events
    assert events[-1]["response"]["usage"]["input_tokens"] == answered
    for store in (None, True):
        error = door.post(RESPONSES, input=history, store=store).json["error"]
        assert (error["param"], error["code"]) == ("input", "array_above_max_length")
        assert "'store' is false, got 33" in error["message"]
    assert door.post(COUNT, input=history * 63).json["error"]["param"] == "input"


def test_a_continuation_counts_what_was_answered(door: Door) -> None:
    """An empty input counts the prompt and the answer so far."""
    cut = door.post(RESPONSES, input="Hi", max_output_tokens=2).json
    expected = counted(door, previous_response_id=cut["id"])
    made = door.post(RESPONSES, previous_response_id=cut["id"]).json
    assert made["usage"]["input_tokens"] == expected == cut["usage"]["input_tokens"] + 2


def test_nothing_is_generated_or_kept(open_door: OpenDoor) -> None:
    """Not a row and not a step."""
    steps: list[int] = []
    door = open_door(noisy_engine(on_step=lambda: steps.append(1)))
    conversation = door.call("POST", "/v1/conversations", {}).json["id"]
    counted(door, input="Hi", conversation=conversation)
    assert not steps
    assert door.call("GET", f"/v1/conversations/{conversation}/items").json["data"] == []


def test_the_model_may_be_left_out(door: Door) -> None:
    """There is but one; another one is not found."""
    assert door.call("POST", COUNT, {"input": "Hi"}).json["input_tokens"] == counted(door, input="Hi")
    assert door.call("POST", COUNT, {"input": "Hi", "model": "gpt-6"}).status == 404


def test_overflow_is_told_or_cut(open_door: OpenDoor) -> None:
    """What would be refused is refused with the counts; with `auto` what is left is counted."""
    door = open_door(scripted_engine(lambda _: "Yes.", context_tokens=64))
    made = door.post(RESPONSES, input="word " * 9).json
    ask = {"input": "word " * 9, "previous_response_id": made["id"]}
    assert door.post(COUNT, **ask).json["error"]["code"] == "context_length_exceeded"
    assert counted(door, **ask, truncation="auto") < 64


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": "Hi", "stream": True}, "stream"),
        ({"input": "Hi", "personality": "friendly"}, "personality"),
        ({"input": "Hi", "conversation": "conv_0", "previous_response_id": "resp_0"}, "previous_response_id"),
        ({"input": "Hi", "reasoning": {"effort": "low"}}, "reasoning"),
    ],
)
def test_what_counts_nothing_is_refused(door: Door, body: dict[str, Any], param: str) -> None:
    """400, by the field's name."""
    refused = door.post(COUNT, **body)
    assert (refused.status, refused.json["error"]["param"]) == (400, param)
