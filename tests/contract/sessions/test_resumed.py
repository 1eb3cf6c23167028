"""What every session store promises of an answer that goes on in its place, and of one that is to end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from handler.errors import Conflict, NotFound, Unavailable, VersionConflict
from handler.sessions import Conversation, Item, SessionStore, StoredResponse, Usage
from handler.sessions.records import CANCEL_RETENTION_S
from tests.contract.sessions.conftest import RETENTION_S
from tests.contract.sessions.faults import Fault, Plan, seen_through
from tests.contract.sessions.stores import HandClock, Place
from tests.contract.sessions.turns import TENANT, conversation, grow, message, response

SERIALIZABLE = ["sqlite", "dynamodb"]
"""moto carries out transactions that come at once without keeping them apart."""

Begun = tuple[Conversation, Item, StoredResponse]


def begin(store: SessionStore, text: str = "Once") -> Begun:
    """A conversation whose last answer was cut, as it is read to go on with it."""
    held = grow(store, store.create(TENANT, conversation()), turns=1)
    question, answer = message("msg_q"), message("msg_a", text, role="assistant", status="incomplete")
    cut = replace(response("resp_1"), status="incomplete")
    store.append(TENANT, held, [question, answer], response=cut, usage=Usage(5, 0, 1, 1))
    return (
        store.get(TENANT, "conv_a"),
        store.item(TENANT, "conv_a", "msg_a"),
        store.response(TENANT, "resp_1"),
    )


def further(begun: Begun, text: str) -> tuple[Item, StoredResponse]:
    """The same answer, longer, and its response."""
    _, item, cut = begun
    longer = replace(item, content=[{"type": "output_text", "text": text}], token_ids=(1, 2, 3))
    return longer, replace(cut, status="completed", body={"text": text})


@pytest.mark.parametrize("length", [20, 900_000])
def test_an_answer_goes_on_in_its_place(store: SessionStore, length: int) -> None:
    """Item, response and counters are the longer answer's, its number stays, and the version tells of it."""
    begun = begin(store)
    item, whole = further(begun, "Once " + "x" * length)
    written = store.replace_last(TENANT, begun[0], item, response=whole, usage=Usage(0, 0, 2, 0))
    assert written == store.get(TENANT, "conv_a")
    assert (written.version, written.last_seq) == (begun[0].version + 1, begun[0].last_seq)
    assert written.usage == Usage(5, 0, 3, 1)
    assert store.item(TENANT, "conv_a", "msg_a") == item
    assert store.window(TENANT, written, max_items=2).items[-1] == item
    assert store.response(TENANT, "resp_1") == whole


def test_a_longer_answer_grows_again(store: SessionStore) -> None:
    """What went on and was cut again goes on from there, over any number of rows."""
    begun = begin(store)
    for size in (10, 500_000, 900_000):
        held, item, cut = store.get(TENANT, "conv_a"), begun[1], begun[2]
        longer, whole = further((held, item, cut), "y" * size)
        store.replace_last(TENANT, held, longer, response=whole)
        assert store.items(TENANT, "conv_a", limit=1).data == (longer,)
        assert store.response(TENANT, "resp_1") == whole


def test_whoever_read_the_shorter_answer_is_refused(store: SessionStore) -> None:
    """A turn made for the answer's beginning cannot be written after it has gone on."""
    begun = begin(store)
    item, whole = further(begun, "Once upon")
    store.replace_last(TENANT, begun[0], item, response=whole)
    with pytest.raises(VersionConflict):
        store.append(TENANT, begun[0], [message("msg_late")])
    shorter = further(begun, "Once u")
    with pytest.raises(VersionConflict):
        store.replace_last(TENANT, begun[0], shorter[0], response=shorter[1])
    assert store.response(TENANT, "resp_1") == whole


def test_an_answer_that_is_not_the_last_stays_as_it_is(store: SessionStore) -> None:
    """Once the conversation has moved on, neither the old nor the new head lets the answer change."""
    begun = begin(store)
    moved = store.append(TENANT, begun[0], [message("msg_next")])
    item, whole = further(begun, "Once upon")
    for head in (begun[0], moved):
        with pytest.raises(VersionConflict):
            store.replace_last(TENANT, head, item, response=whole)
    assert store.item(TENANT, "conv_a", "msg_a") == begun[1]
    assert store.response(TENANT, "resp_1") == begun[2]


def test_what_is_gone_does_not_come_back(store: SessionStore) -> None:
    """Neither a deleted response, nor a deleted item, nor a deleted conversation is written again."""
    begun = begin(store)
    item, whole = further(begun, "Once upon")
    store.delete_response(TENANT, "resp_1")
    with pytest.raises(NotFound):
        store.replace_last(TENANT, begun[0], item, response=whole)
    assert store.item(TENANT, "conv_a", "msg_a") == begun[1]
    without = store.delete_item(TENANT, "conv_a", "msg_a")
    with pytest.raises(NotFound):
        store.replace_last(TENANT, without, item, response=whole)
    store.delete(TENANT, "conv_a")
    with pytest.raises(NotFound):
        store.replace_last(TENANT, without, item, response=whole)


def test_it_is_kept_as_long_as_a_new_turn(store: SessionStore, clock: HandClock) -> None:
    """Going on renews the retention of the conversation, the item and the response."""
    begun = begin(store)
    clock.now_s += 0.9 * RETENTION_S
    item, whole = further(begun, "Once upon")
    store.replace_last(TENANT, begun[0], item, response=whole)
    clock.now_s += 0.9 * RETENTION_S
    assert store.item(TENANT, "conv_a", "msg_a") == item
    assert store.response(TENANT, "resp_1") == whole


@pytest.mark.parametrize("place", SERIALIZABLE, indirect=True)
def test_of_several_that_go_on_at_once_one_writes(
    store: SessionStore, place: Place, clock: HandClock
) -> None:
    """Threads that all read the same beginning: one is acknowledged, its answer stands whole, the rest hear
    of it.
    """
    begun = begin(store)
    outcomes: list[str | Exception] = []
    ready = threading.Barrier(6)

    def go_on(text: str) -> None:
        mine = place.open(clock, RETENTION_S)
        item, whole = further(begun, text)
        ready.wait()
        try:
            mine.replace_last(TENANT, begun[0], item, response=whole, usage=Usage(0, 0, 1, 0))
            outcomes.append(text)
        except Exception as error:
            outcomes.append(error)
        mine.close()

    threads = [threading.Thread(target=go_on, args=(f"Once {n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert len(won) == 1
    assert all(isinstance(other, VersionConflict) for other in outcomes if other not in won)
    item, whole = further(begun, won[0])
    assert (store.item(TENANT, "conv_a", "msg_a"), store.response(TENANT, "resp_1")) == (item, whole)
    assert store.get(TENANT, "conv_a").usage.output_tokens == 2


@pytest.mark.parametrize("place", SERIALIZABLE, indirect=True)
def test_a_turn_and_a_longer_answer_race(store: SessionStore, place: Place, clock: HandClock) -> None:
    """Of a new turn and the answer's going on, made for the same version, exactly one is stored."""
    for n in range(5):
        tenant = f"{TENANT}-{n}"
        held = store.create(tenant, conversation())
        cut = replace(response("resp_1"), status="incomplete")
        head = store.append(tenant, held, [message("msg_a")], response=cut)
        item, first = store.item(tenant, "conv_a", "msg_a"), store.response(tenant, "resp_1")
        item_on, whole = further((head, item, first), "Once upon")
        calls: list[Callable[[SessionStore], object]] = [
            lambda mine, head=head, tenant=tenant: mine.append(tenant, head, [message("msg_next")]),
            lambda mine, head=head, tenant=tenant, item=item_on, whole=whole: mine.replace_last(
                tenant, head, item, response=whole
            ),
        ]
        outcomes = _at_once(place, clock, calls)
        assert sorted(map(str, outcomes)) == ["conflict", "written"]
        moved_on = store.get(tenant, "conv_a").last_seq == 2
        assert (store.response(tenant, "resp_1") == first) == moved_on


def _at_once(place: Place, clock: HandClock, calls: list[Callable[[SessionStore], object]]) -> list[str]:
    outcomes: list[str] = []
    ready = threading.Barrier(len(calls))

    def run(call: Callable[[SessionStore], object]) -> None:
        mine = place.open(clock, RETENTION_S)
        ready.wait()
        try:
            call(mine)
            outcomes.append("written")
        except Conflict:
            outcomes.append("conflict")
        mine.close()

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_a_wish_to_cancel_is_seen_and_forgotten(store: SessionStore, clock: HandClock) -> None:
    """It is the tenant's own, holds for as long as anything can run, and needs no response to be there."""
    assert not store.is_cancel_requested(TENANT, "resp_1")
    store.request_cancel(TENANT, "resp_1")
    store.request_cancel(TENANT, "resp_1")
    assert store.is_cancel_requested(TENANT, "resp_1")
    assert not store.is_cancel_requested("globex", "resp_1")
    assert not store.is_cancel_requested(TENANT, "resp_2")
    clock.now_s += CANCEL_RETENTION_S
    assert not store.is_cancel_requested(TENANT, "resp_1")
    store.request_cancel(TENANT, "resp_1")
    store.erase(TENANT)
    assert not store.is_cancel_requested(TENANT, "resp_1")


def writes(fault: Fault) -> Plan:
    """Plan: a fault at every transaction."""
    return lambda called: fault if called == "TransactWriteItems" else "none"


def first_write(fault: Fault) -> Plan:
    """Plan: a fault at the first transaction."""
    left = [fault]
    return lambda called: left.pop() if called == "TransactWriteItems" and left else "none"


def test_a_lost_acknowledgement_is_found(dynamodb_place: Place) -> None:
    """Where no answer to the transaction arrives at all, the stored response proves that it was done."""
    store = dynamodb_place.open(HandClock())
    begun = begin(store)
    item, whole = further(begun, "Once upon")
    with seen_through(dynamodb_place, writes("unacknowledged")) as faulted:
        written = faulted.replace_last(TENANT, begun[0], item, response=whole, usage=Usage(0, 0, 2, 0))
    assert written == store.get(TENANT, "conv_a")
    assert written.usage.output_tokens == 3
    assert store.response(TENANT, "resp_1") == whole


def test_anothers_longer_answer_is_not_mistaken_for_mine(dynamodb_place: Place) -> None:
    """Where somebody else went on first, a lost refusal stays a conflict."""
    store = dynamodb_place.open(HandClock())
    begun = begin(store)
    theirs = further(begun, "Once more")
    store.replace_last(TENANT, begun[0], theirs[0], response=theirs[1])
    mine = further(begun, "Once upon")
    with (
        seen_through(dynamodb_place, first_write("unacknowledged")) as faulted,
        pytest.raises(VersionConflict),
    ):
        faulted.replace_last(TENANT, begun[0], mine[0], response=mine[1])
    assert store.response(TENANT, "resp_1") == theirs[1]


@pytest.mark.parametrize("fault", ["throttled", "broken", "contended"])
def test_what_could_not_be_written_is_reported(dynamodb_place: Place, fault: Fault) -> None:
    """A fault that stays is `Unavailable`, and the beginning stands as it was."""
    store = dynamodb_place.open(HandClock())
    begun = begin(store)
    item, whole = further(begun, "Once upon")
    with seen_through(dynamodb_place, writes(fault)) as faulted, pytest.raises(Unavailable):
        faulted.replace_last(TENANT, begun[0], item, response=whole)
    assert store.response(TENANT, "resp_1") == begun[2]
    assert store.replace_last(TENANT, begun[0], item, response=whole).version == begun[0].version + 1
