"""A small day of the real handler as a process: its log goes where Lambda reads it.

    python -m tests.unit.infra.recorded_day RECEIPTS

Writes the receipts of the answers, by request, to the file RECEIPTS.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.unit.handler.conftest import Door, opened, rest_event
from tests.unit.handler.scripted_engine import MODEL, scripted_engine

ENDED = {
    "r-chat": ("POST", "/v1/chat/completions", "ann", 200),
    "r-kept": ("POST", "/v1/responses", "ben", 200),
    "r-claimed": ("POST", "/v1/responses", "ben", 200),
    "r-conflict": ("POST", "/v1/responses", "ben", 409),
    "r-bug": ("POST", "/v1/chat/completions", "ben", 500),
    "r-wrong": ("POST", "/v1/chat/completions", "ann", 400),
    "r-last": ("POST", "/v1/chat/completions", "ann", 200),
    "r-quota": ("POST", "/v1/chat/completions", "ann", 429),
    "r-nobody": ("POST", "/v1/chat/completions", "-", 401),
}
"""What was asked: request -> method, path, tenant and status; the gateway refuses the last one by itself."""


def ask(door: Door, request: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    """Send a request that ends as planned; give its receipt, or nothing."""
    method, path, tenant, status = ENDED[request]
    event = rest_event(method, path, {"model": MODEL, **body}, tenant=tenant, **headers)
    event["requestContext"]["requestId"] = request
    answer = door.send(event)
    assert answer.status == status, answer.body
    return {request: answer.json["dormouse"]["receipt"]} if status == 200 else {}


def reply(prompt: str) -> str:
    """Say hello; what nobody foresaw happens when it is asked for."""
    if "Break" in prompt:
        raise RuntimeError("broken")
    return "Hello, how are you?"


def main(receipts: Path) -> None:
    """Live through the day."""
    hello = {"messages": [{"role": "user", "content": "Hello"}]}
    engine = scripted_engine(reply)
    with opened(engine, memory_mib=1024) as door:
        found = ask(door, "r-chat", hello)
        found |= ask(door, "r-kept", {"input": "Hello"})
        found |= ask(door, "r-claimed", {"input": "Hello"}, Idempotency_Key="once")
        ask(door, "r-conflict", {"input": "Bye"}, Idempotency_Key="once")
        ask(door, "r-bug", {"messages": [{"role": "user", "content": "Break"}]})
        ask(door, "r-wrong", {"messages": []})
    with opened(engine, memory_mib=1024, daily_tokens=1) as door:
        found |= ask(door, "r-last", hello)
        door.await_count(1, "ann")
        ask(door, "r-quota", hello)
    receipts.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
