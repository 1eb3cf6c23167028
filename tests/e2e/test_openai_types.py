"""Every answer and every event, held against the official client's own types, validated and not merely built.

The client builds its objects without looking; here pydantic checks each field, and that nothing is added to
OpenAI's fields but `dormouse`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import openai
import pytest
from openai import types
from openai.types import chat, conversations, responses
from pydantic import BaseModel, TypeAdapter

from tests.e2e.server import Server

HELLO = [{"role": "user", "content": "Hello!"}]
MESSAGE = {"type": "message", "role": "user", "content": "Hi"}


@pytest.fixture
def ask(running: Server, model: str) -> Callable[..., Any]:
    """`ask(method, path, body)`: the raw JSON of an answer, or of each event of a stream."""

    def send(method: str, path: str, body: Any = None) -> Any:
        if body is not None and "model" in body:
            body = {**body, "model": model}
        answer = httpx2.request(method, f"{running.url}/v1{path}", json=body, timeout=120)
        assert answer.status_code == 200, answer.text
        if not answer.headers["content-type"].startswith("text/event-stream"):
            return answer.json()
        data = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
        assert data[-1] == "[DONE]"
        return [json.loads(line) for line in data[:-1]]

    return send


def conforms(kind: Any, data: Any) -> Any:
    """Validate as the client's type; whatever is no field of it may only be `dormouse`.

    And `store`, which OpenAI's own response objects have and the client's type of them lacks.
    """
    found = TypeAdapter(kind).validate_python(data)
    added = {name for each in parts(found) for name in each.model_extra or {}}
    assert added <= {"dormouse", "store"}
    return found


def parts(value: Any) -> Iterator[BaseModel]:
    """Every model within a value, itself included."""
    if isinstance(value, BaseModel):
        yield value
        value = dict(value)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from parts(each)


@pytest.mark.parametrize("extra", [{}, {"logprobs": True, "top_logprobs": 2}, {"n": 2, "temperature": 1}])
def test_chat_completions(ask: Callable[..., Any], extra: dict[str, Any]) -> None:
    """Chat completions and each of their chunks, with log-probabilities and several choices too."""
    body = {"model": "", "messages": HELLO, "max_tokens": 6, **extra}
    conforms(chat.ChatCompletion, ask("POST", "/chat/completions", body))
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    for chunk in ask("POST", "/chat/completions", body):
        conforms(chat.ChatCompletionChunk, chunk)


@pytest.mark.parametrize("extra", [{}, {"logprobs": 2}, {"n": 2}, {"echo": True}, {"prompt": [[5, 6], [7]]}])
def test_completions(ask: Callable[..., Any], extra: dict[str, Any]) -> None:
    """Completions and each of their chunks, in which OpenAI too has no finish reason before the last."""
    body = {"model": "", "prompt": "The quick", "max_tokens": 6, **extra}
    conforms(types.Completion, ask("POST", "/completions", body))
    for chunk in ask("POST", "/completions", body | {"stream": True}):
        choice = chunk["choices"][0]
        choice["finish_reason"] = choice["finish_reason"] or "length"
        conforms(types.Completion, chunk)


def test_scored_prompts(ask: Callable[..., Any]) -> None:
    """A scored prompt conforms but for the null of its first token, which OpenAI's own answers have."""
    answer = ask("POST", "/completions", {"model": "", "prompt": "The quick", "echo": True, "logprobs": 1})
    lists = answer["choices"][0]["logprobs"]
    for name in ("token_logprobs", "top_logprobs"):
        assert lists[name].pop(0) is None
    conforms(types.Completion, answer)


def test_responses(ask: Callable[..., Any]) -> None:
    """Responses whole, read again, with their input, deleted."""
    made = ask("POST", "/responses", {"model": "", "input": "Hello!", "max_output_tokens": 6})
    conforms(responses.Response, made)
    conforms(responses.Response, ask("GET", f"/responses/{made['id']}"))
    conforms(responses.ResponseItemList, ask("GET", f"/responses/{made['id']}/input_items"))
    assert ask("DELETE", f"/responses/{made['id']}")["deleted"] is True


@pytest.mark.parametrize(
    "extra", [{}, {"top_logprobs": 2, "include": ["message.output_text.logprobs"]}, {"store": False}]
)
def test_response_events(ask: Callable[..., Any], extra: dict[str, Any]) -> None:
    """Every event of a streamed response is one that the client knows, whole in all its fields."""
    body = {"model": "", "input": "Hello!", "max_output_tokens": 6, "stream": True, **extra}
    events = ask("POST", "/responses", body)
    assert len(events) > 8
    for event in events:
        found = conforms(responses.ResponseStreamEvent, event)
        assert found.type == event["type"]


def test_conversations(ask: Callable[..., Any]) -> None:
    """The eight calls on conversations and their items."""
    made = ask("POST", "/conversations", {"metadata": {"a": "b"}, "items": [MESSAGE]})
    place = f"/conversations/{made['id']}"
    for answer in (made, ask("GET", place), ask("POST", place, {"metadata": {}})):
        conforms(conversations.Conversation, answer)
    added = ask("POST", f"{place}/items", {"items": [MESSAGE]})
    for answer in (added, ask("GET", f"{place}/items")):
        conforms(conversations.ConversationItemList, answer)
    item = added["data"][0]["id"]
    conforms(conversations.ConversationItem, ask("GET", f"{place}/items/{item}"))
    conforms(conversations.Conversation, ask("DELETE", f"{place}/items/{item}"))
    conforms(conversations.ConversationDeletedResource, ask("DELETE", place))


def test_models(ask: Callable[..., Any]) -> None:
    """The model, listed and alone."""
    listed = ask("GET", "/models")
    for each in (*listed["data"], ask("GET", f"/models/{listed['data'][0]['id']}")):
        conforms(types.Model, each)


def test_raw_responses(client: openai.OpenAI, model: str) -> None:
    """`with_raw_response` gives headers, the request id among them, and parses to the same object."""
    asked: Any = {"model": model, "messages": HELLO, "max_tokens": 2}
    raw: Any = client.chat.completions.with_raw_response.create(**asked)
    assert raw.headers["x-request-id"]
    assert raw.headers["content-type"] == "application/json"
    assert raw.parse().choices[0].message.role == "assistant"


async def talk(url: str, model: str) -> tuple[str, str, str]:
    """One question, asked three ways by the client that does not wait."""
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        seeded: Any = {"model": model, "messages": HELLO, "max_tokens": 6, "seed": 2}
        whole = await client.chat.completions.create(**seeded)
        stream = await client.chat.completions.create(**seeded, stream=True)
        joined = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        made = await client.responses.create(model=model, input="Hello!", max_output_tokens=6)
        read = await client.responses.retrieve(made.id)
        assert read.output_text == made.output_text
        async with client.responses.stream(model=model, input="Hi", max_output_tokens=6) as events:
            kinds = [event.type async for event in events]
        return whole.choices[0].message.content or "", joined, kinds[0]


def test_async_client(running: Server, model: str) -> None:
    """The asynchronous client sees the same, whole, streamed and through the helper."""
    whole, joined, first = asyncio.run(talk(running.url, model))
    assert (joined, first) == (whole, "response.created")
