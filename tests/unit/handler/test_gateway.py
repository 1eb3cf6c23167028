"""The server's door by itself: who waits stops nobody who is being answered, nor does who reads no more."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Generator
from typing import Any

import pytest

from handler import gateway as module
from handler.gateway import MAX_WAITING_REQUESTS, Gateway, Message, Send
from handler.routes.answers import PRELUDE_END

PATIENCE_S = 30
PRELUDE = json.dumps({"statusCode": 200, "headers": {}}).encode() + PRELUDE_END


async def call(gateway: Gateway, path: str, send: Send) -> None:
    """One request whose client stays."""
    bodies = [{"type": "http.request", "body": b""}]

    async def receive() -> Message:
        return bodies.pop() if bodies else await asyncio.Event().wait()

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
