"""A whole application around a scripted engine, called with events as Lambda calls it."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import pytest

from handler.assembly import Application, assemble
from handler.engine.engine import Engine
from handler.runtime_stream import PRELUDE_END
from handler.sessions.sqlite import SqliteSessions
from handler.settings import Settings
from tests.unit.handler.scripted_engine import MODEL, scripted_engine

EVENTS = Path(__file__).parents[3] / "infra" / "events"


@dataclass(frozen=True)
class Answer:
    """What came back, buffered or streamed."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The data of each server-sent event, `[DONE]` left out."""
        lines = [line.removeprefix("data: ") for line in self.body.splitlines() if line.startswith("data: ")]
        return [json.loads(line) for line in lines if line != "[DONE]"]


class Door:
    """Sends requests to an application as events."""

    def __init__(self, application: Application) -> None:
        self.application = application

    def send(self, event: dict[str, Any], context: Any = None) -> Answer:
        """Send an event as it stands."""
        answer = self.application.api.answer(event, context)
        if isinstance(answer, dict):
            return Answer(answer["statusCode"], answer["headers"], answer["body"])
        prelude, *rest = answer
        assert prelude.endswith(PRELUDE_END)
        facts = json.loads(prelude.removesuffix(PRELUDE_END))
        return Answer(facts["statusCode"], facts["headers"], b"".join(rest).decode())

    def call(self, method: str, path: str, body: Any = None, *, tenant: str = "", **headers: str) -> Answer:
        """Send a request as a REST API event, for a tenant that the authorizer found."""
        return self.send(rest_event(method, path, body, tenant=tenant, **headers))

    def await_count(self, answers: int, tenant: str = "") -> None:
        """Wait until a tenant's answers of today are counted: none of them waited long for that."""
        give_up_s = time.monotonic() + 30
        while True:
            results = self.call("GET", "/v1/usage", tenant=tenant).json["data"][0]["results"]
            if results and results[0]["num_model_requests"] == answers:
                return
            assert time.monotonic() < give_up_s, results
            time.sleep(0.01)

    def look_never(self) -> Door:
        """Look after no slow answer for a cancel, so that the calls of one are as many on any machine."""
        self.application.running.look_s = 3600.0
        return self

    def post(self, path: str, **body: Any) -> Answer:
        """POST a body for the one model."""
        return self.call("POST", path, {"model": MODEL, **body})


def rest_event(
    method: str, path: str, body: Any = None, *, tenant: str = "", **headers: str
) -> dict[str, Any]:
    """Write a request as an event."""
    path, _, query = path.partition("?")
    pairs = dict(pair.split("=") for pair in query.split("&")) if query else None
    return {
        "httpMethod": method,
        "path": path,
        "headers": {name.replace("_", "-"): value for name, value in headers.items()},
        "queryStringParameters": pairs,
        "requestContext": {"requestId": "r-1", "authorizer": {"tenant": tenant} if tenant else None},
        "body": None if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }


def recorded(name: str) -> dict[str, Any]:
    """A recorded event."""
    event: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return event


class Wrapper:
    """In the place of a store or another part: a subclass says what is different, the rest is as it was."""

    part: Any = None

    def wrap(self, part: Any) -> Self:
        """Take the place of a part."""
        self.part = part
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.part, name)


OpenDoor = Callable[..., Door]


@contextmanager
def opened(engine: Engine, clock: Callable[[], float] = time.monotonic, **settings: Any) -> Iterator[Door]:
    """An application for all examples of a property, its sessions in memory: where time counts, no disk's."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        store = SqliteSessions(Path(folder) / "sessions.sqlite3", clock=time.time)
        chosen = replace(Settings(deadline_margin_ms=0, streaming=True), **settings)
        yield Door(assemble(chosen, engine, store, started_s=clock(), clock=clock))
        store.close()


@pytest.fixture
def open_door(tmp_path: Path) -> Iterator[OpenDoor]:
    """`open_door(engine=…, wrap=…, clock=…, now=…, **settings)`: an application of its own, its sessions in
    a file."""
    stores = []

    def open_(
        engine: Engine | None = None,
        *,
        wrap: Callable[[Any], Any] = lambda store: store,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        **settings: Any,
    ) -> Door:
        store = SqliteSessions(tmp_path / "sessions.sqlite3", clock=now)
        stores.append(store)
        engine = engine or scripted_engine(lambda _: "Hello, how are you?")
        chosen = replace(Settings(deadline_margin_ms=0), **settings)
        return Door(assemble(chosen, engine, wrap(store), started_s=clock(), clock=clock, now=now))

    yield open_
    for store in stores:
        store.close()


@pytest.fixture
def door(open_door: OpenDoor) -> Door:
    """The application with nothing special about it, streaming."""
    return open_door(streaming=True)
