"""The handler behind the runtime: a client that hangs up stops the model, and its stream can be taken up."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.contract.runtime.conftest import Environment
from tests.contract.runtime.runtime_api import Invocation

COMMAND = (sys.executable, "-m", "awslambdaric", "handler.function.lambda_handler")
TOKENS = 60


def event(method: str, resource: str, path: str, body: Any = None, **query: str) -> dict[str, Any]:
    """A request as API Gateway invokes a streamed route."""
    return {
        "resource": resource,
        "path": path,
        "httpMethod": method,
        "headers": {"Content-Type": "application/json"},
        "queryStringParameters": query or None,
        "requestContext": {"stage": "prod", "requestId": "r-1"},
        "body": None if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }


def events_of(answer: Invocation) -> list[Any]:
    """The events that have arrived."""
    lines = answer.payload.decode().splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]


def deltas(events: list[Any]) -> list[tuple[int, str]]:
    """Number and text of each piece."""
    return [(e["sequence_number"], e["delta"]) for e in events if e["type"] == "response.output_text.delta"]


def test_a_stream_that_broke_off_is_taken_up(
    start: Callable[..., Environment], tiny_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    """Generation stops with the connection, what was said is kept, the next invocation goes on with it."""
    bundle = tiny_bundle()
    name = json.loads((bundle / "bundle.json").read_text())["name"]
    variables = {"DORMOUSE_BUNDLE": str(bundle), "DORMOUSE_SESSIONS": str(tmp_path / "sessions.sqlite3")}
    api = start(
        *COMMAND, _HANDLER="handler.function.lambda_handler", DORMOUSE_DEADLINE_MARGIN_MS="0", **variables
    ).api
    body = {"model": name, "input": "Hello!", "stream": True, "temperature": 1.5, "seed": 1}
    turn = event("POST", "/v1/responses", "/v1/responses", {**body, "max_output_tokens": TOKENS})
    whole = events_of(api.invoke(turn))
    cut = api.invoke(turn, hang_up_after=9)
    assert cut.kind == "cut"
    heard = events_of(cut)
    assert heard
    path = f"/v1/responses/{heard[0]['response']['id']}"
    stored = api.invoke(event("GET", "/v1/responses/{response_id}", path))
    assert json.loads(stored.payload)["status"] == "incomplete"
    after = str(heard[-1]["sequence_number"])
    rest = api.invoke(event("GET", "/v1/responses/{response_id}", path, stream="true", starting_after=after))
    assert rest.kind == "streamed"
    assert deltas(heard) + deltas(events_of(rest)) == deltas(whole)
    assert (
        events_of(rest)[-1]["response"]["usage"]["output_tokens"]
        == whole[-1]["response"]["usage"]["output_tokens"]
    )
