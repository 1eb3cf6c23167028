"""What is kept is kept: over a SIGKILL, over a client that hangs up, over a deadline."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import time
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest

from tests.e2e.conftest import StartServer

DELTA = "response.output_text.delta"
LONG = {"max_output_tokens": 120, "temperature": 1.5, "extra_body": {"seed": 1}}


def transcript(client: Any, conversation: str) -> list[tuple[str, str]]:
    """Everything said in a conversation: (role, text), oldest first."""
    items = client.conversations.items.list(conversation, order="asc", limit=100)
    return [(item.role, "".join(part.text for part in item.content)) for item in items]


def eventually(client: Any, conversation: str, messages: int) -> list[tuple[str, str]]:
    """The transcript, once it has so many messages; a server takes a moment to see a client gone."""
    end = time.monotonic() + 30
    while len(found := transcript(client, conversation)) < messages and time.monotonic() < end:
        time.sleep(0.05)
    return found


def test_a_killed_server_forgets_nothing(start_server: StartServer) -> None:
    """After a SIGKILL and a new start the whole conversation is there, and its next turn reads all of it."""
    server = start_server()
    client = server.client()
    model = client.models.list().data[0].id
    conversation = client.conversations.create().id
    ask = {"model": model, "conversation": conversation, "max_output_tokens": 8}
    told = client.responses.create(input="My name is Ada.", **ask)
    before = transcript(client, conversation)
    server.kill()

    client = start_server().client()
    assert transcript(client, conversation) == before
    assert before[0] == ("user", "My name is Ada.")
    asked = client.responses.create(input="What is my name?", **ask)
    assert asked.usage.input_tokens > told.usage.input_tokens
    assert transcript(client, conversation)[:2] == before


def test_a_client_that_hangs_up_loses_nothing(running: Any, model: str) -> None:
    """When a client leaves in the middle of a stream, what was said until then is kept, as incomplete."""
    client = running.client()
    conversation = client.conversations.create().id
    stream = client.responses.create(
        model=model, conversation=conversation, input="Go on and on", stream=True, **LONG
    )
    for event in stream:
        if event.type == "response.output_text.delta" and event.delta:
            break
    stream.close()
    kept = eventually(client, conversation, 2)
    assert [role for role, _ in kept] == ["user", "assistant"]
    items = client.conversations.items.list(conversation, order="desc", limit=1).data
    assert items[0].status in ("incomplete", "completed")


def test_a_socket_that_breaks_loses_nothing(running: Any, model: str) -> None:
    """A connection reset in mid-stream: read again, and on, the stream says what it would have said."""
    client = running.client()
    ask = {"model": model, "input": "Go on and on", "stream": True, **LONG}
    whole = "".join(event.delta for event in client.responses.create(**ask) if event.type == DELTA)
    body = json.dumps({name: value for name, value in ask.items() if name != "extra_body"} | {"seed": 1})
    heard = hung_up_on(running.url, body)
    response_id = heard[0]["response"]["id"]
    said = [event["delta"] for event in heard if event["type"] == DELTA]
    rest = stored_stream(client, response_id, heard[-1]["sequence_number"])
    assert "".join(said) + "".join(event.delta for event in rest if event.type == DELTA) == whole
    assert [event.sequence_number for event in rest] == list(
        range(heard[-1]["sequence_number"] + 1, rest[-1].sequence_number + 1)
    )
    assert rest[-1].response.output_text == whole
    assert client.responses.retrieve(response_id).output_text == whole


def hung_up_on(url: str, body: str) -> list[Any]:
    """Send a request over a plain socket, read to the first piece of text, and reset the connection."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=60) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        head = f"POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        line.sendall((head + body).encode())
        heard = b""
        with line.makefile("rb") as rows:
            for row in rows:
                heard += row
                if row.startswith(b"data: ") and f"event: {DELTA}".encode() in heard:
                    break
    frames = re.findall(rb"^data: (\{.*\})$", heard.replace(b"\r", b""), re.MULTILINE)
    return [json.loads(frame) for frame in frames]


def stored_stream(client: Any, response_id: str, after: int) -> list[Any]:
    """The rest of a response's events, once the server has seen its first reader gone."""
    end = time.monotonic() + 30
    while True:
        try:
            return list(client.responses.retrieve(response_id, stream=True, starting_after=after))
        except openai.NotFoundError:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_a_response_is_called_off(running: Any, model: str) -> None:
    """The client cancels by the id of the first event; its own types read the answer.

    A tiny model may be done before the cancel is there: one try of ten has to be in time.
    """
    client = running.client()
    cancelled = None
    for seed in range(10):
        stream = client.responses.create(
            model=model, input="Go on and on", stream=True, temperature=1.5, extra_body={"seed": seed}
        )
        response_id = next(iter(stream)).response.id
        with contextlib.suppress(openai.BadRequestError):
            cancelled = client.responses.cancel(response_id)
            break
    last = list(stream)[-1]
    assert (last.type, last.response.status) == ("response.incomplete", "cancelled")
    assert cancelled == last.response
    assert client.responses.cancel(response_id) == cancelled == client.responses.retrieve(response_id)
    with pytest.raises(openai.NotFoundError):
        client.with_options(default_headers={"x-request-timeout-ms": "300"}).responses.cancel("resp_none")


def test_a_prompt_is_counted(running: Any, model: str) -> None:
    """The client's own call counts what the answer is billed."""
    client = running.client()
    made = client.responses.create(model=model, input="Hello!", instructions="Be brief.", max_output_tokens=2)
    counted = client.responses.input_tokens.count(model=model, input="Hello!", instructions="Be brief.")
    assert (counted.input_tokens, counted.object) == (made.usage.input_tokens, "response.input_tokens")
    again = list(client.responses.retrieve(made.id, stream=True, include=["message.output_text.logprobs"]))
    assert again[-1].response == made


def test_a_history_of_the_clients_own_is_answered(running: Any, model: str) -> None:
    """A history that the client keeps may be as long as a chat's; one that is to be kept here may not."""
    client = running.client()
    history: Any = [{"role": role, "content": "m"} for role in ("assistant", "user")] * 16
    ask = {"model": model, "input": history, "max_output_tokens": 2}
    made = client.responses.create(**ask, store=False)
    chat = client.chat.completions.create(model=model, messages=history, max_tokens=2)
    assert made.usage.input_tokens == chat.usage.prompt_tokens
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(**ask)
    assert (refused.value.param, refused.value.code) == ("input", "array_above_max_length")


def test_items_include_what_is_asked_for(running: Any, model: str) -> None:
    """Wherever there are items the log-probabilities may be asked for: an answer's come with it, others have
    none. What else OpenAI can include is refused by name."""
    client, wanted = running.client(), ["message.output_text.logprobs"]
    conversation = client.conversations.create().id
    items = client.conversations.items
    said: Any = [{"role": "user", "content": "Hi"}]
    assert len(items.create(conversation, items=said, include=wanted).data) == 1
    made = client.responses.create(
        model=model, conversation=conversation, input="Hello!", max_output_tokens=2, include=wanted
    )
    logprobs = made.output[0].content[0].logprobs
    assert logprobs
    newest = items.list(conversation, limit=1, include=wanted).data[0]
    assert newest == items.retrieve(made.output[0].id, conversation_id=conversation, include=wanted)
    assert newest.content[0].logprobs == logprobs
    assert not items.list(conversation, limit=1).data[0].content[0].logprobs
    assert len(client.responses.input_items.list(made.id, include=wanted).data) == 1
    client.responses.delete(made.id)
    assert not items.list(conversation, limit=1, include=wanted).data[0].content[0].logprobs
    with pytest.raises(openai.BadRequestError) as refused:
        items.list(conversation, include=["reasoning.encrypted_content"])
    assert (refused.value.param, refused.value.code) == ("include[]", "unsupported_parameter")


def test_an_answer_that_ran_out_of_time_goes_on_exactly(running: Any, model: str) -> None:
    """An answer cut short and continued with an empty input joins to the uninterrupted answer."""
    client = running.client()
    ask = {"model": model, "input": "Tell me all.", "temperature": 1.2, "extra_body": {"seed": 3}}
    whole = client.responses.create(**ask, max_output_tokens=24)
    parts = [client.responses.create(**ask, max_output_tokens=5)]
    while parts[-1].status == "incomplete" and len(parts) < 4:
        parts.append(
            client.responses.create(model=model, previous_response_id=parts[-1].id, max_output_tokens=5)
        )
    rest = 24 - sum(part.usage.output_tokens for part in parts)
    if parts[-1].status == "incomplete":
        parts.append(
            client.responses.create(model=model, previous_response_id=parts[-1].id, max_output_tokens=rest)
        )
    assert "".join(part.output_text for part in parts) == whole.output_text
    assert sum(part.usage.output_tokens for part in parts) == whole.usage.output_tokens


def test_no_time_left_is_no_error(running: Any, model: str) -> None:
    """A client that allows no time gets 200 and an incomplete response that says why."""
    client = running.client(default_headers={"x-request-timeout-ms": "1"})
    made = client.responses.create(model=model, input="Hello!", max_output_tokens=8)
    assert made.status == "incomplete"
    assert made.incomplete_details.reason == "max_output_tokens"
    assert made.dormouse["stop_reason"] == "deadline"
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hi"}])
    assert answer.choices[0].finish_reason == "length"
    assert answer.dormouse["stop_reason"] == "deadline"


def test_overflow_is_told(running: Any, model: str) -> None:
    """A history that does not fit is refused with the counts, or with `auto` cut by whole turns and told."""
    client = running.client()
    conversation = client.conversations.create().id
    some = "word " * 5
    ask = {"model": model, "conversation": conversation, "max_output_tokens": 2}
    context = client.models.list().data[0].dormouse["context_tokens"]
    refusal = None
    while refusal is None:  # a turn adds five tokens at least, so this ends
        try:
            client.responses.create(input=some, **ask)
        except openai.BadRequestError as error:
            refusal = error
    assert refusal.code == "context_length_exceeded"
    assert str(context) in refusal.message
    kept = [item.id for item in client.conversations.items.list(conversation, order="asc", limit=100)]
    made = client.responses.create(input=some, truncation="auto", **ask)
    dropped = made.dormouse["dropped_items"]
    assert dropped[0] == kept[0]
    assert set(dropped) < set(kept)


def test_ctrl_c_ends_it(start_server: StartServer) -> None:
    """Ctrl-C ends the server with status 0, and without a word of complaint."""
    server = start_server()
    assert server.interrupt() == 0
    assert server.log.read_text() == ""
