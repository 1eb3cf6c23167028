"""The official client, unchanged: every call it has that this server serves, buffered and streamed."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai.types.responses import ResponseCompletedEvent, ResponseIncompleteEvent

HELLO = [{"role": "user", "content": "Hello!"}]


def test_models(client: Any, model: str) -> None:
    """The one model is listed and found, and no other is."""
    assert client.models.retrieve(model).id == model
    with pytest.raises(openai.NotFoundError) as raised:
        client.models.retrieve("gpt-4")
    assert raised.value.code == "model_not_found"


def test_chat_completion(client: Any, model: str) -> None:
    """A buffered answer has all of OpenAI's fields, and the vendor's facts beside them."""
    answer = client.chat.completions.create(model=model, messages=HELLO, max_tokens=8, seed=7)
    choice = answer.choices[0]
    assert choice.finish_reason in ("stop", "length")
    assert choice.message.role == "assistant"
    assert choice.message.content is not None
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    facts = answer.dormouse
    assert facts["seed"] == 7
    assert facts["receipt"]["output_tokens"] == answer.usage.completion_tokens


def test_chat_stream_equals_buffered(client: Any, model: str) -> None:
    """The chunks of a stream join to the very text of the buffered answer with the same seed."""
    ask = {"model": model, "messages": HELLO, "max_tokens": 24, "seed": 11, "temperature": 0.9}
    whole = client.chat.completions.create(**ask)
    chunks = list(client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-2]] == [None] * (len(chunks) - 2)
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert text == whole.choices[0].message.content


def test_choices(client: Any, model: str) -> None:
    """Choice i of n is the answer that `seed + i` alone would give."""
    ask = {"model": model, "messages": HELLO, "max_tokens": 8, "temperature": 1.5}
    both = client.chat.completions.create(**ask, n=2, seed=5)
    second = client.chat.completions.create(**ask, seed=6)
    assert [choice.index for choice in both.choices] == [0, 1]
    assert both.choices[1].message.content == second.choices[0].message.content


def test_logprobs(client: Any, model: str) -> None:
    """Every token has its log-probability and as many alternatives as asked for, likeliest first."""
    ask = {"model": model, "messages": HELLO, "max_tokens": 6, "temperature": 0, "logit_bias": {}}
    answer = client.chat.completions.create(**ask, logprobs=True, top_logprobs=3)
    assert answer.choices[0].logprobs is not None
    entries = answer.choices[0].logprobs.content
    assert entries is not None
    assert answer.usage is not None
    assert len(entries) == answer.usage.completion_tokens
    for entry in entries:
        assert entry.logprob == entry.top_logprobs[0].logprob
        assert len(entry.top_logprobs) == 3


def test_text_completion(client: Any, model: str) -> None:
    """The older API goes on with a text, whole or in pieces."""
    whole = client.completions.create(model=model, prompt="The quick", max_tokens=6, seed=3)
    pieces = client.completions.create(model=model, prompt="The quick", max_tokens=6, seed=3, stream=True)
    assert "".join(piece.choices[0].text for piece in pieces) == whole.choices[0].text


def test_response(client: Any, model: str) -> None:
    """A response can be read again as it was given, with its input, until it is deleted."""
    made = client.responses.create(model=model, input="Hello!", max_output_tokens=8, metadata={"a": "b"})
    assert made.status in ("completed", "incomplete")
    assert made.metadata == {"a": "b"}
    read = client.responses.retrieve(made.id)
    assert read.output_text == made.output_text
    items = client.responses.input_items.list(made.id)
    assert [part.text for item in items.data for part in item.content] == ["Hello!"]
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_response_events(client: Any, model: str) -> None:
    """A streamed response emits OpenAI's events in OpenAI's order, numbered from 0, and is stored by the
    end."""
    events = list(client.responses.create(model=model, input="Hello!", max_output_tokens=8, stream=True))
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert set(kinds[4:-4]) <= {"response.output_text.delta"}
    assert kinds[-4:-1] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
    ]
    last = events[-1]
    assert isinstance(last, ResponseCompletedEvent | ResponseIncompleteEvent)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert client.responses.retrieve(last.response.id).output_text == text


def test_response_stream_helper(client: Any, model: str) -> None:
    """`client.responses.stream()` builds its snapshots from our events."""
    with client.responses.stream(model=model, input="Hello!", max_output_tokens=8) as stream:
        snapshots = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
    assert snapshots == sorted(snapshots, key=len)


def test_previous_response(client: Any, model: str) -> None:
    """A response goes on from an earlier one, and a second branch from the same one does not see the
    first."""
    ask = {"model": model, "max_output_tokens": 4}
    first = client.responses.create(**ask, input="I am Ada.")
    second = client.responses.create(**ask, input="Who am I?", previous_response_id=first.id)
    branch = client.responses.create(**ask, input="Who am I?", previous_response_id=first.id)
    assert first.usage is not None
    assert second.usage is not None
    assert branch.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens
    assert branch.usage.input_tokens == second.usage.input_tokens
    assert branch.previous_response_id == first.id


def test_store_false(client: Any, model: str) -> None:
    """What is not to be stored cannot be read."""
    made = client.responses.create(model=model, input="Hello!", max_output_tokens=4, store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_conversation(client: Any, model: str) -> None:
    """Turns are added to the conversation they name, and it can be paged through."""
    conversation = client.conversations.create(metadata={"topic": "tea"})
    for text in ("One", "Two"):
        made = client.responses.create(
            model=model, input=text, conversation=conversation.id, max_output_tokens=4
        )
        assert made.conversation is not None
        assert made.conversation.id == conversation.id
    pages = client.conversations.items.list(conversation.id, order="asc", limit=3)
    items = list(pages)
    assert [item.role for item in items] == ["user", "assistant"] * 2
    assert items[2].content[0].text == "Two"


def test_conversation_calls(client: Any) -> None:
    """The eight calls of the client on conversations and items do what they say."""
    message = {"type": "message", "role": "user", "content": "Hi"}
    made = client.conversations.create(items=[message])
    assert client.conversations.retrieve(made.id).id == made.id
    changed = client.conversations.update(made.id, metadata={"a": "1"})
    assert changed.metadata == {"a": "1"}
    added = client.conversations.items.create(made.id, items=[message, message])
    one = client.conversations.items.retrieve(added.first_id, conversation_id=made.id)
    assert one.id == added.first_id
    left = client.conversations.items.delete(added.first_id, conversation_id=made.id)
    assert left.id == made.id
    assert len(client.conversations.items.list(made.id).data) == 2
    assert client.conversations.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.conversations.retrieve(made.id)


def test_typed_errors(client: Any, model: str) -> None:
    """Errors arrive as the client's own exceptions, with the field that was wrong."""
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model=model, messages=HELLO, temperature=3)
    assert raised.value.param == "temperature"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-4", messages=HELLO)
    with pytest.raises(openai.NotFoundError) as raised_missing:
        client.responses.create(model=model, input="Hi", previous_response_id="resp_none")
    assert raised_missing.value.param == "previous_response_id"
    with pytest.raises(openai.BadRequestError) as raised_functions:
        client.chat.completions.create(model=model, messages=HELLO, functions=[{"name": "f"}])
    assert raised_functions.value.code == "unsupported_parameter"
