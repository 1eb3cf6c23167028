"""The server's door by itself: who waits stops nobody who is being answered, nor does who reads no more."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Generator
from typing import Any

import pytest

from handler import gateway as module
from handler.gateway import MAX_WAITING_REQUESTS, Gateway, LocalContext, Message, Receive, Send
from handler.runtime_stream import PRELUDE_END
from tests.unit.handler.conftest import OpenDoor, rest_event
from tests.unit.handler.scripted_engine import MODEL, noisy_engine

PATIENCE_S = 30
HI = [{"role": "user", "content": "Hi"}]
PRELUDE = json.dumps({"statusCode": 200, "headers": {}}).encode() + PRELUDE_END


async def stay() -> Message:
    """Never hang up."""
    await asyncio.Event().wait()
    return {}


async def call(gateway: Gateway, path: str, send: Send, after: Receive = stay) -> None:
    """One request, and what its client does after it."""
    bodies = [{"type": "http.request", "body": b""}]

    async def receive() -> Message:
        return bodies.pop() if bodies else await after()

    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}
    await gateway(scope, receive, send)


async def ignore(_: Message) -> None:
    """Read whatever comes."""


def test_an_answer_is_not_stopped_by_those_who_wait_for_it() -> None:
    """With the last thread of the pool taken by requests that wait for the model, it still goes on."""
    waiting, free = threading.Semaphore(0), threading.Event()

    def answer() -> Generator[bytes, None, None]:
        yield PRELUDE
        all_wait = [waiting.acquire(timeout=PATIENCE_S) for _ in range(MAX_WAITING_REQUESTS)]
        yield b"said" if all(all_wait) else b"stopped"
        free.set()

    def handler(event: dict[str, Any], _: Any) -> Any:
        if event["path"] == "/stream":
            return answer()
        waiting.release()
        is_answered = free.wait(PATIENCE_S)
        return {"statusCode": 200 if is_answered else 503, "headers": {}, "body": ""}

    said: list[bytes] = []
    statuses: list[int] = []

    async def read(message: Message) -> None:
        said.append(message.get("body", b""))

    async def note(message: Message) -> None:
        statuses.append(message.get("status", 0))

    async def scene() -> None:
        gateway = Gateway(handler)
        stream = asyncio.create_task(call(gateway, "/stream", read))
        while not said:
            await asyncio.sleep(0.01)
        await asyncio.gather(stream, *(call(gateway, "/", note) for _ in range(MAX_WAITING_REQUESTS)))

    asyncio.run(scene())
    assert b"".join(said) == b"said"
    assert [status for status in statuses if status] == [200] * MAX_WAITING_REQUESTS


def test_who_reads_no_more_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """After some time the answer is closed, as if its client had hung up: others wait for the model."""
    monkeypatch.setattr(module, "PATIENCE_S", 0.05)
    closed = threading.Event()

    def answer() -> Generator[bytes, None, None]:
        try:
            yield PRELUDE
            while True:
                yield b"more"
        finally:
            closed.set()

    async def read_the_head(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    asyncio.run(call(Gateway(lambda *_: answer()), "/stream", read_the_head))
    assert closed.is_set()


def test_who_makes_a_whole_answer_is_told_that_its_client_has_gone() -> None:
    """While it is being made; what it then gives goes nowhere."""
    begun, told = threading.Event(), threading.Event()

    def handler(_: dict[str, Any], context: LocalContext) -> dict[str, Any]:
        context.when_abandoned(told.set)
        begun.set()
        is_told = told.wait(PATIENCE_S)
        return {"statusCode": 200 if is_told else 503, "headers": {}, "body": ""}

    statuses: list[int] = []

    async def note(message: Message) -> None:
        statuses.append(message.get("status", 0))

    async def leave() -> Message:
        while not begun.is_set():
            await asyncio.sleep(0.01)
        return {"type": "http.disconnect"}

    asyncio.run(call(Gateway(handler), "/", note, leave))
    assert statuses[0] == 200


def test_who_stays_is_not_said_to_have_gone() -> None:
    """Neither before the answer has been sent, nor after."""
    told = threading.Event()

    def handler(_: dict[str, Any], context: LocalContext) -> dict[str, Any]:
        context.when_abandoned(told.set)
        return {"statusCode": 200, "headers": {}, "body": ""}

    asyncio.run(call(Gateway(handler), "/", ignore))
    assert not told.is_set()


@pytest.mark.parametrize(
    ("path", "body", "is_ended"),
    [
        ("/v1/chat/completions", {"messages": HI, "n": 8}, True),
        ("/v1/completions", {"prompt": "Hi", "n": 8, "max_tokens": 40}, True),
        ("/v1/responses", {"input": "Hi", "max_output_tokens": 40}, False),
    ],
)
def test_an_abandoned_answer_ends_unless_it_is_kept(
    open_door: OpenDoor, path: str, body: dict[str, Any], is_ended: bool
) -> None:
    """A completion that nobody waits for lets the model go with the token under way, all its choices too; a
    response goes on, since its client may come back for it.
    """
    context, answered = LocalContext(), 0

    def leave() -> None:
        nonlocal answered
        answered += 1
        if answered == 20:
            context.abandon()

    door = open_door(noisy_engine(on_step=leave))
    answer = door.send(rest_event("POST", path, {"model": MODEL, **body}), context)
    made = answer.json["dormouse"]["receipt"]["output_tokens"]
    assert (made < 20) == is_ended
    assert answer.json["dormouse"]["stop_reason"] == ("cancelled" if is_ended else "length")
