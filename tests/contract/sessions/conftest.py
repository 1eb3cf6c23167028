"""Every test that asks for `store` or `place` runs once for each implementation."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from handler.assembly import assemble
from handler.sessions import SessionStore
from handler.settings import Settings
from tests.contract.sessions.stores import IMPLEMENTATIONS, HandClock, Place
from tests.unit.handler.conftest import Door
from tests.unit.handler.scripted_engine import scripted_engine

RETENTION_S = 1000.0
ENDPOINTS = {"dynamodb": "dynamodb_endpoint", "dynamodb-moto": "moto_endpoint"}


@pytest.fixture(params=sorted(IMPLEMENTATIONS))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty place for a store."""
    kind = request.param
    if kind == "sqlite":
        return Place(kind, str(tmp_path / "sessions.sqlite3"))
    made = Place(kind, request.getfixturevalue(ENDPOINTS[kind]), f"sessions-{uuid.uuid4().hex}")
    table = made.dynamo_table()
    table.create()
    table.close()
    return made


@pytest.fixture
def dynamodb_place(dynamodb_endpoint: str) -> Place:
    """An empty table on a server that behaves."""
    made = Place("dynamodb", dynamodb_endpoint, f"sessions-{uuid.uuid4().hex}")
    made.dynamo_table().create()
    return made


@pytest.fixture(autouse=True)
def patient_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers here are Python: how long they take says nothing of DynamoDB, and no read is sent twice."""
    monkeypatch.setattr("handler.sessions.dynamo_table.READ_TIMEOUT_S", 60.0)


@pytest.fixture
def clock() -> HandClock:
    """The store's clock."""
    return HandClock()


@pytest.fixture
def store(place: Place, clock: HandClock) -> Iterator[SessionStore]:
    """An empty store whose records are kept for `RETENTION_S`."""
    opened = place.open(clock, RETENTION_S)
    yield opened
    opened.close()


@pytest.fixture
def door(store: SessionStore, clock: HandClock) -> Door:
    """The API over the store, with a scripted engine."""
    settings = Settings(deadline_margin_ms=0, streaming=True)
    engine = scripted_engine(lambda _: "I am fine, thank you.", context_tokens=512)
    return Door(assemble(settings, engine, store, started_s=0.0, now=clock))
