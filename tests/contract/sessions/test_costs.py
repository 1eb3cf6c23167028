"""What a turn asks of the store, through the whole use case, is the same after 200 messages and 5,000."""

from __future__ import annotations

import dataclasses
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from handler.assembly import assemble
from handler.sessions import SessionStore
from handler.sessions.sqlite import SqliteSessions
from handler.settings import Settings
from tests.contract.sessions.conftest import RETENTION_S
from tests.contract.sessions.faults import faulty
from tests.contract.sessions.stores import HandClock, Place
from tests.contract.sessions.turns import NOW_S, TENANT, conversation, message, response
from tests.unit.handler.conftest import Door
from tests.unit.handler.scripted_engine import MODEL, scripted_engine

CONTEXT_TOKENS = 512  # so that a window holds 128 items
SHORT, LONG = 200, 5_000
VM_STEPS = 100  # SQLite's virtual machine is looked at after so many instructions


@dataclass
class Bill:
    """Calls by name, and what they moved: bytes of DynamoDB's protocol, instructions of SQLite's machine."""

    calls: Counter[str] = dataclasses.field(default_factory=Counter)
    work: int = 0

    def add(self, call: str, work: int = 0) -> None:
        """Note a call."""
        self.calls[call] += 1
        self.work += work


def fill(store: SessionStore, id: str, count: int) -> None:
    """Store a conversation of so many messages of one length."""
    held = store.create(TENANT, conversation(id, title="A long story"))
    for start in range(0, count, 40):
        items = [
            message(f"msg_{n:06d}", f"How are you? {n:06d}", role=("user", "assistant")[n % 2])
            for n in range(start, start + 40)
        ]
        held = store.append(TENANT, held, items)


def turn(store: SessionStore, **place: Any) -> Any:
    """Take a turn by the API."""
    engine = scripted_engine(lambda _: "I am fine.", context_tokens=CONTEXT_TOKENS)
    settings = Settings(deadline_margin_ms=0)
    door = Door(assemble(settings, engine, store, started_s=0.0, now=HandClock())).look_never()
    body = {"model": MODEL, "input": "Hello", "truncation": "auto", **place}
    answer = door.call("POST", "/v1/responses", body, tenant=TENANT)
    assert answer.status == 200, answer.body
    return answer.json


@contextmanager
def billed_dynamodb(place: Place) -> Iterator[tuple[SessionStore, Bill]]:
    """The store behind a proxy that notes every call and its bytes."""
    bill = Bill()
    with faulty(place.address, lambda _: "none", bill.add) as url:
        store = replace(place, address=url).open(HandClock())
        yield store, bill
        store.close()


@contextmanager
def billed_sqlite(place: Place) -> Iterator[tuple[SessionStore, Bill]]:
    """The store on a connection that notes every statement and every so many instructions."""
    bill = Bill()
    store = SqliteSessions(Path(place.address), clock=HandClock())
    with store._file.read() as db:
        pass

    def look() -> None:
        bill.work += VM_STEPS

    db.set_trace_callback(lambda statement: bill.add(statement.split()[0]))
    db.set_progress_handler(look, VM_STEPS)
    yield store, bill
    store.close()


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine, no answer comes before it is counted."""
    monkeypatch.setattr("handler.chat.ledger.COUNTING_S", 60.0)


@pytest.fixture(params=["sqlite", "dynamodb"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty place for a store."""
    if request.param == "sqlite":
        return Place("sqlite", str(tmp_path / "sessions.sqlite3"))
    made = Place("dynamodb", request.getfixturevalue("dynamodb_endpoint"), f"costs-{uuid.uuid4().hex}")
    made.dynamo_table().create()
    return made


def bill_of(place: Place, **where: Any) -> tuple[Bill, Any]:
    """What a turn costs."""
    billed = billed_sqlite if place.kind == "sqlite" else billed_dynamodb
    with billed(place) as (store, bill):
        answer = turn(store, **where)
    return bill, answer


def test_a_turns_price_does_not_grow_with_its_conversation(place: Place) -> None:
    """The same calls, and within a twentieth the same work, for 25 times the messages; the window in two
    queries.
    """
    store = place.open(HandClock())
    for count in (SHORT, LONG):
        fill(store, f"conv_{count}", count)
    store.close()
    short, _ = bill_of(place, conversation=f"conv_{SHORT}")
    long, answer = bill_of(place, conversation=f"conv_{LONG}")
    assert long.calls == short.calls
    assert long.work <= short.work * 1.05
    assert answer["dormouse"]["dropped_older"]
    if place.kind == "dynamodb":
        assert long.calls == {"GetItem": 2, "Query": 2, "TransactWriteItems": 2, "UpdateItem": 1}
    else:
        assert long.calls["SELECT"] <= 12


def test_a_responses_price_does_not_grow_with_its_thread(place: Place) -> None:
    """By `previous_response_id` the response is read besides, however long the thread behind it."""
    store = place.open(HandClock())
    for count in (SHORT, LONG):
        fill(store, f"conv_{count}", count)
        held = store.get(TENANT, f"conv_{count}")
        made = response(f"resp_{count:06d}", held.id)
        store.append(TENANT, held, [message("msg_last")], response=made)
    store.close()
    short, _ = bill_of(place, previous_response_id=f"resp_{SHORT:06d}")
    long, _ = bill_of(place, previous_response_id=f"resp_{LONG:06d}")
    assert long.calls == short.calls
    assert long.work <= short.work * 1.05
    if place.kind == "dynamodb":
        assert long.calls == {"GetItem": 2, "Query": 3, "TransactWriteItems": 2, "UpdateItem": 1}


def test_pages_do_not_grow_either(place: Place) -> None:
    """A page of items, of an export, from the end or the middle, is read at one price."""
    store = place.open(HandClock())
    for count in (SHORT, LONG):
        fill(store, f"conv_{count}", count)
    store.close()
    prices: dict[str, list[Bill]] = {}
    billed = billed_sqlite if place.kind == "sqlite" else billed_dynamodb
    for count in (SHORT, LONG):
        for query in (
            "items?limit=20",
            f"items?limit=20&after=msg_{count // 2:06d}",
            "export?after=100&limit=20",
        ):
            with billed(place) as (opened, bill):
                engine = scripted_engine(lambda _: "OK.")
                door = Door(assemble(Settings(), engine, opened, started_s=0.0, now=HandClock()))
                path = f"/v1/conversations/conv_{count}/{query}"
                assert len(door.call("GET", path, tenant=TENANT).json["data"]) == 20
            prices.setdefault(query.partition("=msg")[0], []).append(bill)
    for short, long in prices.values():
        assert long.calls == short.calls
        assert long.work <= short.work * 1.05


def test_what_has_expired_costs_a_listing_little(place: Place) -> None:
    """Of entries whose heads are gone a hundred are passed over by one pair of calls."""
    store = place.open(HandClock(NOW_S - 1.6 * RETENTION_S), RETENTION_S)
    for n in range(50):
        store.create(TENANT, conversation(f"conv_older_{n}", created_at_s=1_000))
    store = place.open(HandClock(NOW_S - 1.2 * RETENTION_S), RETENTION_S)
    for n in range(150):
        store.create(TENANT, conversation(f"conv_old_{n}", created_at_s=2_000))
    store = place.open(HandClock(), RETENTION_S)
    store.create(TENANT, conversation("conv_new"))
    store.close()
    billed = billed_sqlite if place.kind == "sqlite" else billed_dynamodb
    for order in ("asc", "desc"):
        with billed(place) as (opened, bill):
            page = opened.conversations(TENANT, limit=1, order=order)
        assert ([each.id for each in page.data], page.has_more) == (["conv_new"], False)
        assert place.kind == "sqlite" or bill.calls == {"Query": 3, "BatchGetItem": 3}


@pytest.mark.parametrize("place", ["dynamodb"], indirect=True)
def test_what_keeping_a_conversation_costs_a_turn(place: Place) -> None:
    """Nothing until half a retention has gone by; then as much as 500 items do, until all are renewed."""
    store = place.open(HandClock(), RETENTION_S)
    fill(store, "conv_long", 1_200)
    clock, bill = HandClock(), Bill()
    with faulty(place.address, lambda _: "none", bill.add) as url:
        store = replace(place, address=url).open(clock, RETENTION_S)

        def calls(step_s: float) -> Counter[str]:
            clock.now_s += step_s
            held = store.get(TENANT, "conv_long")
            bill.calls.clear()
            store.renew(TENANT, held)
            return +bill.calls

        assert not calls(RETENTION_S / 2 - 1)
        part = {"Query": 10, "TransactWriteItems": 10, "UpdateItem": 1}
        assert [calls(1), calls(0)] == [part, part]
        assert calls(0) == {"Query": 5, "TransactWriteItems": 5, "UpdateItem": 1}
        assert not calls(RETENTION_S / 2 - 1)
        store.close()
