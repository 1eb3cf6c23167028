"""DynamoSessions when the table misbehaves: the acknowledged is stored once, the refused not at all."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from handler.assembly import assemble
from handler.errors import NotFound, Unavailable, VersionConflict
from handler.sessions import Order, SessionStore, Usage
from handler.sessions import dynamo_rows as rows
from handler.sessions.dynamo_request import Put
from handler.settings import Settings
from tests.contract.sessions.conftest import RETENTION_S
from tests.contract.sessions.faults import Fault, Plan, faulty, seen_through
from tests.contract.sessions.stores import HandClock, Place
from tests.contract.sessions.turns import TENANT, conversation, grow, message, response, seqs
from tests.unit.handler.conftest import Answer, Door
from tests.unit.handler.scripted_engine import scripted_engine


@pytest.fixture
def place(dynamodb_place: Place) -> Place:
    """Here it is always a table."""
    return dynamodb_place


@pytest.fixture
def store(place: Place) -> SessionStore:
    """The store as it is seen without faults."""
    return place.open(HandClock())


def always(operation: str, fault: Fault) -> Plan:
    """Plan: a fault at every call of one operation."""
    return lambda called: fault if called == operation else "none"


def first(operation: str, fault: Fault, times: int = 1) -> Plan:
    """Plan: a fault at the first calls of one operation."""
    calls: Counter[str] = Counter()

    def plan(called: str) -> Fault:
        calls[called] += 1
        return fault if called == operation and calls[called] <= times else "none"

    return plan


@pytest.mark.parametrize("fault", ["throttled", "broken", "contended", "unacknowledged", "late"])
def test_a_turn_survives_a_passing_fault(place: Place, store: SessionStore, fault: Fault) -> None:
    """One fault of any kind, and the turn is stored, once, and acknowledged."""
    seen = store.create(TENANT, conversation())
    with seen_through(place, first("TransactWriteItems", fault)) as faulted:
        written = faulted.append(
            TENANT, seen, [message("msg_1"), message("msg_2")], response=response("resp_1")
        )
    assert store.get(TENANT, "conv_a") == written
    assert seqs(store.items(TENANT, "conv_a", order="asc").data) == [1, 2]


@pytest.mark.parametrize("fault", ["throttled", "broken", "contended", "late"])
def test_a_change_survives_a_turn_that_is_being_written(
    place: Place, store: SessionStore, fault: Fault
) -> None:
    """A single update that gives way to a transaction on its row is made again, once."""
    seen = store.create(TENANT, conversation())
    with seen_through(place, first("UpdateItem", fault, times=2)) as faulted:
        faulted.update(TENANT, "conv_a", metadata={"topic": "sleep"})
        faulted.add_usage(TENANT, "2026-11-26", Usage(1, 2, 3))
    assert store.get(TENANT, "conv_a") == replace(seen, metadata={"topic": "sleep"})
    assert store.usage(TENANT, "2026-11-26") == Usage(1, 2, 3)


@pytest.mark.parametrize("fault", ["throttled", "broken", "contended"])
def test_a_turn_that_could_not_be_written_is_reported(
    place: Place, store: SessionStore, fault: Fault
) -> None:
    """A fault that stays is `Unavailable`, nothing is stored, and the same turn can be written afterwards."""
    seen = store.create(TENANT, conversation())
    with seen_through(place, always("TransactWriteItems", fault)) as faulted, pytest.raises(Unavailable):
        faulted.append(TENANT, seen, [message("msg_1")])
    assert store.get(TENANT, "conv_a") == seen
    assert store.append(TENANT, seen, [message("msg_1")]).last_seq == 1


def test_a_turn_whose_acknowledgement_never_comes_is_found(place: Place, store: SessionStore) -> None:
    """Where no answer to the transaction arrives at all, the store looks for the turn and finds it done."""
    seen = store.create(TENANT, conversation())
    with seen_through(place, always("TransactWriteItems", "unacknowledged")) as faulted:
        written = faulted.append(TENANT, seen, [message("msg_1")], response=response("resp_1"))
    assert written == store.get(TENANT, "conv_a")
    assert seqs(store.items(TENANT, "conv_a").data) == [1]


def test_a_lost_turn_is_not_mistaken_for_anothers(place: Place, store: SessionStore) -> None:
    """Where another's turn came first, a lost acknowledgement of the refusal stays a conflict."""
    seen = store.create(TENANT, conversation())
    store.append(TENANT, seen, [message("msg_theirs")])
    with (
        seen_through(place, first("TransactWriteItems", "unacknowledged")) as faulted,
        pytest.raises(VersionConflict),
    ):
        faulted.append(TENANT, seen, [message("msg_mine")])
    assert [item.id for item in store.items(TENANT, "conv_a").data] == ["msg_theirs"]


@pytest.mark.parametrize("fault", ["broken", "throttled"])
def test_reads_say_when_they_cannot(place: Place, store: SessionStore, fault: Fault) -> None:
    """A table that does not answer is `Unavailable` and retryable, never an absence."""
    held = store.create(TENANT, conversation(), [message("msg_1")])
    with seen_through(place, lambda _: fault) as faulted:
        with pytest.raises(Unavailable) as caught:
            faulted.get(TENANT, "conv_a")
        with pytest.raises(Unavailable):
            faulted.window(TENANT, held, max_items=5)
    assert caught.value.retryable


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_torn_read_is_made_again(place: Place, store: SessionStore, order: Order) -> None:
    """Where a query misses an item that a turn has just written, the reader does not take it for deleted."""
    held = grow(store, store.create(TENANT, conversation()), turns=2)
    with seen_through(place, first("Query", "torn")) as faulted:
        assert len(faulted.items(TENANT, "conv_a", order=order).data) == 4
    with seen_through(place, first("Query", "torn")) as faulted:
        assert seqs(faulted.window(TENANT, held, max_items=1).items) == [4]


@pytest.mark.parametrize("operation", ["Query", "TransactWriteItems", "UpdateItem"])
def test_what_cannot_be_renewed_is_left_for_the_next_turn(place: Place, operation: str) -> None:
    """No turn fails for it, and none takes it for done."""
    clock = HandClock()
    store = place.open(clock, RETENTION_S)
    held = grow(store, store.create(TENANT, conversation()), turns=2)
    clock.now_s += RETENTION_S * 0.9
    with faulty(place.address, always(operation, "broken")) as url:
        replace(place, address=url).open(clock, RETENTION_S).renew(TENANT, held)
    held = grow(store, store.renew(TENANT, store.get(TENANT, "conv_a")), turns=1)
    clock.now_s += RETENTION_S - 1
    assert seqs(store.window(TENANT, held, max_items=9).items) == [1, 2, 3, 4, 5, 6]


def test_no_server_is_unavailable() -> None:
    """Nobody listens: the same."""
    nowhere = Place("dynamodb", "http://127.0.0.1:9", "none").open(HandClock())
    with pytest.raises(Unavailable):
        nowhere.get(TENANT, "conv_a")


def test_no_table_is_unavailable(place: Place) -> None:
    """The table is not there: the same, and the message names no more than the kind of error."""
    with pytest.raises(Unavailable, match="ResourceNotFoundException"):
        replace(place, table="none").open(HandClock()).get(TENANT, "conv_a")


def test_a_deletion_that_broke_off_is_finished(place: Place, store: SessionStore) -> None:
    """The conversation is gone at once; the same call later sweeps what is left; then there is nothing."""
    held = grow(store, store.create(TENANT, conversation()), turns=2)
    store.append(TENANT, held, [], response=response("resp_1"))
    with seen_through(place, always("BatchWriteItem", "broken")) as faulted, pytest.raises(Unavailable):
        faulted.delete(TENANT, "conv_a")
    with pytest.raises(NotFound):
        store.get(TENANT, "conv_a")
    assert rows_of(place) > 0
    store.delete(TENANT, "conv_a")
    assert rows_of(place) == 0
    with pytest.raises(NotFound):
        store.delete(TENANT, "conv_a")


@pytest.mark.parametrize("terms", [{}, {"If_Match": "*"}, {"If_Match": '"2"'}])
def test_a_deletion_by_the_api_that_broke_off_is_finished(
    place: Place, store: SessionStore, terms: dict[str, str]
) -> None:
    """Its client is told to send it again; the very same request then leaves nothing, and a third finds
    nothing.
    """
    grow(store, store.create(TENANT, conversation()), turns=1)

    def delete(seen: SessionStore) -> Answer:
        door = Door(assemble(Settings(), scripted_engine(lambda _: "OK."), seen, started_s=0.0))
        return door.call("DELETE", "/v1/conversations/conv_a", tenant=TENANT, **terms)

    with seen_through(place, always("BatchWriteItem", "broken")) as faulted:
        broken = delete(faulted)
    assert (broken.status, broken.headers["x-should-retry"]) == (503, "true")
    assert rows_of(place) > 0
    assert delete(store).status == 200
    assert rows_of(place) == 0
    assert delete(store).status == 404


def test_an_erasure_that_broke_off_is_finished(place: Place, store: SessionStore) -> None:
    """The same call again leaves not a row of the tenant, whatever the first one had done."""
    store.append(TENANT, conversation(), [message("msg_1", "x" * 900_000)], response=response("resp_1"))
    store.append(TENANT, conversation("conv_b", hidden=True), [message("msg_1")])
    with (
        seen_through(place, first("BatchWriteItem", "broken", times=3)) as faulted,
        pytest.raises(Unavailable),
    ):
        faulted.erase(TENANT)
    store.erase(TENANT)
    assert rows_of(place) == 0


def test_an_erasure_takes_claims_by_the_batch_and_looks_at_the_clock(place: Place) -> None:
    """Of a day of turns thousands of claims are left; each by itself would take longer than a request may."""
    table, calls = place.dynamo_table(), Counter[str]()
    for n in range(60):
        table.write(Put({"pk": rows.directory(TENANT), "sk": f"CLAIM#try:{n:03d}"}))
    with faulty(place.address, lambda _: "none", lambda operation, _: calls.update([operation])) as url:
        counted = replace(place, address=url).open(HandClock())
        with pytest.raises(Unavailable, match="more to erase"):
            counted.erase(TENANT, should_stop=lambda: calls["BatchWriteItem"] > 0)
        assert (rows_of(place), calls["BatchWriteItem"]) == (35, 1)
        counted.erase(TENANT)
        counted.close()
    assert (rows_of(place), calls["BatchWriteItem"]) == (0, 3)


def test_a_long_conversation_costs_two_reads(place: Place, store: SessionStore) -> None:
    """Head and newest window of 5,000 messages are one GetItem and one Query; a turn on top is one
    transaction.
    """
    held = store.create(TENANT, conversation())
    for start in range(0, 5_000, 40):
        held = store.append(TENANT, held, [message(f"msg_{n}") for n in range(start, start + 40)])
    calls: Counter[str] = Counter()

    def count(operation: str) -> Fault:
        calls[operation] += 1
        return "none"

    with seen_through(place, count) as counted:
        held = counted.get(TENANT, "conv_a")
        assert seqs(counted.window(TENANT, held, max_items=200).items) == list(range(4_801, 5_001))
        assert calls == {"GetItem": 1, "Query": 1}
        counted.append(TENANT, held, [message("msg_new"), message("msg_newer")], response=response("resp_1"))
        assert calls == {"GetItem": 1, "Query": 1, "TransactWriteItems": 1}


def rows_of(place: Place) -> int:
    """Count the rows of the whole table."""
    return int(place.dynamo_table().client.scan(TableName=place.table, Select="COUNT")["Count"])
