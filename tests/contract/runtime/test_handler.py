"""The handler behind the runtime: frozen and thawed, left by its clients, ended by the platform."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.contract.runtime.conftest import Environment
from tests.contract.runtime.events import event, events_of
from tests.contract.runtime.runtime_api import RuntimeApi

COMMAND = (sys.executable, "-m", "awslambdaric", "handler.function.lambda_handler")
TOKENS = 60


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


def test_a_snapshot_holds_no_connection(
    start: Callable[..., Environment], tiny_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    """When it may be frozen, its one socket is that which waits for the restore; thawed, it takes a turn."""
    bundle = tiny_bundle()
    name = json.loads((bundle / "bundle.json").read_text())["name"]
    sessions = tmp_path / "sessions.sqlite3"
    variables = {"DORMOUSE_BUNDLE": str(bundle), "DORMOUSE_SESSIONS": str(sessions)}
    environment = start(
        *COMMAND,
        api=RuntimeApi(snapstart_restores=False),
        _HANDLER="handler.function.lambda_handler",
        AWS_LAMBDA_INITIALIZATION_TYPE="snap-start",
        **variables,
    )
    assert environment.api.restored.wait(60)
    opened = environment.opened()
    assert sum(each.startswith("socket:") for each in opened) == 1
    assert not [each for each in opened if each.startswith(str(sessions))]
    environment.api.may_restore.set()
    body = {"model": name, "input": "Hello!", "max_output_tokens": 3}
    answer = environment.api.invoke(event("POST", "/v1/responses", "/v1/responses", body))
    assert answer.prelude["statusCode"] == 200


def test_a_turn_outlives_its_environment(
    start: Callable[..., Environment], tiny_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    """A Runtime API beyond repair ends the process; the next one goes on with what that one had stored."""
    bundle = tiny_bundle()
    name = json.loads((bundle / "bundle.json").read_text())["name"]
    variables = {"DORMOUSE_BUNDLE": str(bundle), "DORMOUSE_SESSIONS": str(tmp_path / "sessions.sqlite3")}
    turn = {"model": name, "input": "Hello!", "max_output_tokens": 3}
    asked = event("POST", "/v1/responses", "/v1/responses", turn)
    first = start(*COMMAND, _HANDLER="handler.function.lambda_handler", **variables)
    said = json.loads(first.api.invoke(asked, reply_status=500).payload)
    assert first.process.wait(timeout=60) != 0
    second = start(*COMMAND, _HANDLER="handler.function.lambda_handler", **variables)
    onward = event("POST", "/v1/responses", "/v1/responses", {**turn, "previous_response_id": said["id"]})
    assert second.api.invoke(onward).prelude["statusCode"] == 200
