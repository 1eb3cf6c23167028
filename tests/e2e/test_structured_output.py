"""The official client's structured outputs: a pydantic model in, an object of it out."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

HELLO = [{"role": "user", "content": "Say who you are, as JSON."}]


class Animal(BaseModel):
    """What is asked for."""

    kind: Literal["dormouse", "mouse"]
    age: int = Field(ge=0, le=9)
    awake: bool
    friends: list[Literal["owl", "fox"]] = Field(max_length=2)


@pytest.mark.parametrize("temperature", [0, 1.3])
def test_chat_completions_parse(client: Any, model: str, temperature: float) -> None:
    """`chat.completions.parse` gives an object of the model's class."""
    answer = client.chat.completions.parse(
        model=model, messages=HELLO, response_format=Animal, temperature=temperature, seed=2
    )
    assert isinstance(answer.choices[0].message.parsed, Animal)


@pytest.mark.parametrize("temperature", [0, 1.3])
def test_responses_parse(client: Any, model: str, temperature: float) -> None:
    """`responses.parse` does, too."""
    answer = client.responses.parse(
        model=model, input=HELLO, text_format=Animal, temperature=temperature, extra_body={"seed": 2}
    )
    assert isinstance(answer.output_parsed, Animal)


def test_a_stream_parses_at_its_end(client: Any, model: str) -> None:
    """The helper for streams gives the object with the last event."""
    with client.responses.stream(model=model, input=HELLO, text_format=Animal) as stream:
        list(stream)
        assert isinstance(stream.get_final_response().output_parsed, Animal)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_cannot_go_on_is_kept(client: Any, model: str, stream: bool) -> None:
    """A pattern that takes ever longer to follow cuts the answer, before any error reaches the client."""
    pattern = {"type": "string", "pattern": "^(((a|b){1,30}){1,30}){200,300}$"}
    schema = {"type": "object", "properties": {"a": pattern}, "required": ["a"]}
    format_ = {"type": "json_schema", "name": "a", "schema": schema}
    answer = client.responses.create(model=model, input=HELLO, text={"format": format_}, stream=stream)
    if stream:
        *_, last = answer
        answer = last.response
    assert (answer.status, answer.error) == ("incomplete", None)
    assert answer.output_text.startswith('{"a": "')
