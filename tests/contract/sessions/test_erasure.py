"""Everything of a tenant goes when it asks, though the eraser is killed half way; nothing of others does."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from handler.assembly import assemble
from handler.errors import NotFound, Unavailable
from handler.sessions import SessionStore, Usage
from handler.sessions.sqlite_rows import TABLES
from handler.settings import Settings
from tests.contract.sessions.conftest import RETENTION_S
from tests.contract.sessions.faults import Fault, faulty
from tests.contract.sessions.stores import HandClock, Place, everything_in
from tests.contract.sessions.turns import NOW_S, TENANT, conversation, grow, message, response
from tests.unit.handler.conftest import Door, Wrapper
from tests.unit.handler.scripted_engine import MODEL, noisy_engine, scripted_engine

CONVERSATIONS = 6
ERASE = {"confirm": "everything"}


def rows_of(place: Place, tenant: str = TENANT) -> int:
    """Count what lies in a place of a tenant, seen or not."""
    if place.kind == "sqlite":
        with sqlite3.connect(place.address) as db:
            counts = (db.execute(f"SELECT COUNT(*) FROM {t} WHERE tenant = ?", (tenant,)) for t in TABLES)
            return sum(count.fetchone()[0] for count in counts)
    pages = place.dynamo_table().client.get_paginator("scan").paginate(TableName=place.table)
    keys = (row["pk"]["S"] for page in pages for row in page["Items"])
    return sum(key.startswith(f"{tenant}#") for key in keys)


def furnish(store: SessionStore, tenant: str) -> None:
    """Conversations with items and responses, hidden threads and forks, long ones too, a claim, counters."""
    for n in range(CONVERSATIONS):
        head = conversation(f"conv_{n}", hidden=n % 2 == 1)
        head = grow(store, store.append(tenant, head, []), turns=15, tenant=tenant)
        made = response(f"resp_{n}", head.id, body={"text": "x" * 500_000})
        store.append(tenant, head, [message(f"msg_{n}", "y" * 450_000)], response=made)
        fork = head.fork(f"conv_fork_{n}", at_seq=4, created_at_s=NOW_S)
        store.append(tenant, fork, [message("msg_f")], response=response(f"resp_fork_{n}", fork.id))
    store.claim(tenant, "key", owner="a", fingerprint="f", lease_s=30)
    store.add_usage(tenant, "2026-11-25", Usage(1))


def everything(store: SessionStore, tenant: str) -> list[Any]:
    """Whatever can still be read of `furnish`, by id."""
    names = [f"{kind}{n}" for kind in ("", "fork_") for n in range(CONVERSATIONS)]
    found: list[Any] = [*store.conversations(tenant).data, *store.conversations(tenant, hidden=True).data]
    for name in names:
        for read in (store.get, store.items):
            with contextlib.suppress(NotFound):
                found.append(read(tenant, f"conv_{name}"))
        with contextlib.suppress(NotFound):
            found.append(store.response(tenant, f"resp_{name}"))
    return found


@pytest.mark.parametrize("fatal", [1, 2, 5])
@pytest.mark.parametrize("place", ["sqlite", "dynamodb"], indirect=True)
def test_an_eraser_that_was_killed_is_followed_by_another(
    place: Place, store: SessionStore, fatal: int
) -> None:
    """After SIGKILL at any point what can be read is whole, and the same call again leaves not a row."""
    furnish(store, TENANT)
    furnish(store, "globex")
    others, kept = rows_of(place, "globex"), everything(store, "globex")
    assert _killed(place, fatal) == -signal.SIGKILL
    for held in store.conversations(TENANT, limit=100).data:
        assert len(store.items(TENANT, held.id, limit=100).data) == held.last_seq - held.first_seq + 1
    store.erase(TENANT)
    assert (rows_of(place), everything(store, TENANT)) == (0, [])
    assert (rows_of(place, "globex"), everything(store, "globex")) == (others, kept)


def _killed(place: Place, fatal: int) -> int:
    """Run an eraser and kill it at its statement, or its batch, of that number; give its exit status."""
    if place.kind == "sqlite":
        return subprocess.run(_command(place, fatal)).returncode
    calls: Counter[str] = Counter()
    eraser: list[subprocess.Popen[bytes]] = []

    def plan(operation: str) -> Fault:
        calls[operation] += 1
        if operation == "BatchWriteItem" and calls[operation] == fatal:
            eraser[0].kill()
        return "none"

    with faulty(place.address, plan) as url:
        eraser.append(subprocess.Popen(_command(replace(place, address=url), fatal)))
        return eraser[0].wait(timeout=60)


def _command(place: Place, fatal: int) -> list[str]:
    program = [sys.executable, "-m", "tests.contract.sessions.eraser"]
    return [*program, place.kind, place.address, place.table, str(fatal)]


def test_erasing_by_the_api(door: Door, place: Place) -> None:
    """Conversations, hidden threads, responses, counters: nothing is readable, not a row is left."""
    id = door.call("POST", "/v1/conversations", {}, tenant=TENANT).json["id"]
    turn = {"model": MODEL, "input": "My name is Tamsin."}
    named = door.call("POST", "/v1/responses", {**turn, "conversation": id}, tenant=TENANT).json["id"]
    cut = {**turn, "max_output_tokens": 2}
    alone = door.call("POST", "/v1/responses", cut, tenant=TENANT).json["id"]
    door.await_count(2, TENANT)
    assert rows_of(place) > 0
    answer = door.call("POST", "/v1/erase", ERASE, tenant=TENANT)
    assert (answer.status, answer.json) == (200, {"object": "erasure", "erased": "everything"})
    for path in (
        f"conversations/{id}",
        f"conversations/{id}/export",
        f"responses/{named}",
        f"responses/{alone}",
    ):
        assert door.call("GET", f"/v1/{path}", tenant=TENANT).status == 404
    goes_on = {"model": MODEL, "input": "", "previous_response_id": alone}
    assert door.call("POST", "/v1/responses", goes_on, tenant=TENANT).status == 404
    assert door.call("GET", "/v1/conversations?hidden=true", tenant=TENANT).json["data"] == []
    assert door.call("GET", "/v1/usage", tenant=TENANT).json["data"][0]["results"] == []
    assert rows_of(place) == 0
    assert door.call("POST", "/v1/erase", ERASE, tenant=TENANT).status == 200


def test_a_period_that_still_counts_is_kept(place: Place, store: SessionStore) -> None:
    """Of all that is a tenant's its counters of the period that is asked for are left, and nothing else."""
    furnish(store, TENANT)
    store.add_usage(TENANT, "2026-11-26", Usage(1, 2, 3, 4))
    store.erase(TENANT, counted_period="2026-11-26")
    assert (rows_of(place), everything(store, TENANT)) == (1, [])
    assert store.usage(TENANT, "2026-11-26") == Usage(1, 2, 3, 4)
    store.erase(TENANT, counted_period="2026-11-27")
    assert rows_of(place) == 0


SECRET = "My PIN is 48219."


@pytest.fixture
def noisy(store: SessionStore, clock: HandClock) -> Door:
    """The API over the store, with answers that go on and on."""
    settings = Settings(deadline_margin_ms=0)
    return Door(assemble(settings, noisy_engine(), store, started_s=0.0, now=clock))


def turn(door: Door, **body: Any) -> Any:
    """Take a turn that is cut."""
    made = door.call("POST", "/v1/responses", {"model": MODEL, "max_output_tokens": 4, **body}, tenant=TENANT)
    assert made.status == 200, made.body
    return made.json


def ids_of(text: str) -> str:
    """A text as it stands among stored ids."""
    return json.dumps(noisy_engine().tokenizer.encode(text).ids, separators=(",", ":"))[1:-1]


def exported(door: Door, id: str) -> Any:
    """All that a conversation shows of itself."""
    return door.call("GET", f"/v1/conversations/{id}/export", tenant=TENANT).json


def test_a_deleted_question_is_nowhere(noisy: Door, place: Place, store: SessionStore) -> None:
    """Neither as text, nor as title, nor as ids in the prompts of answers that were cut, before or after."""
    id = noisy.call("POST", "/v1/conversations", {}, tenant=TENANT).json["id"]
    turn(noisy, conversation=id, input="Hi")
    turn(noisy, conversation=id, input=SECRET)
    turn(noisy, conversation=id)
    turn(noisy, conversation=id, input="And?")
    secret = store.items(TENANT, id, order="asc").data[2]
    assert secret.content[0]["text"] == SECRET
    assert everything_in(place).count(ids_of(SECRET)) == 3
    gone = noisy.call("DELETE", f"/v1/conversations/{id}/items/{secret.id}", tenant=TENANT)
    assert gone.status == 200
    left = everything_in(place)
    assert (SECRET in left, ids_of(SECRET) in left) == (False, False)
    prompts = ["prompt_ids" in response["state"] for response in exported(noisy, id)["responses"]]
    assert prompts == [True, False, False, False]


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_deleted_part_of_an_answer_is_nowhere(
    noisy: Door, place: Place, store: SessionStore, part: int
) -> None:
    """Neither in its response, nor among the ids of the parts that go on with it."""
    id = noisy.call("POST", "/v1/conversations", {}, tenant=TENANT).json["id"]
    made = [turn(noisy, conversation=id, **said) for said in ({"input": "Hi"}, {}, {})]
    turn(noisy, conversation=id, input="And?")
    items = store.items(TENANT, id, order="asc").data[1:4]
    ids = json.dumps(items[part].token_ids[-4:], separators=(",", ":"))[1:-1]
    assert ids in everything_in(place)
    path = f"/v1/conversations/{id}/items/{items[part].id}"
    assert noisy.call("DELETE", path, tenant=TENANT).status == 200
    assert ids not in everything_in(place)
    texts = [
        noisy.call("GET", f"/v1/responses/{each['id']}", tenant=TENANT).json["output"][0]["content"][0][
            "text"
        ]
        for each in made
    ]
    said = [each["output"][0]["content"][0]["text"] for each in made]
    assert texts == [*said[:part], "", *said[part + 1 :]]


def test_what_a_branch_keeps_of_a_deleted_conversation_is_not_given(noisy: Door) -> None:
    """Its prompt, which has the deleted text in it, is neither exported nor gone on from."""
    id = noisy.call("POST", "/v1/conversations", {}, tenant=TENANT).json["id"]
    first = turn(noisy, conversation=id, input=SECRET)["id"]
    branch = turn(noisy, previous_response_id=first, input="And?")["id"]
    (hidden,) = noisy.call("GET", "/v1/conversations?hidden=true", tenant=TENANT).json["data"]
    assert ids_of(SECRET) in json.dumps(exported(noisy, hidden["id"]), separators=(",", ":"))
    assert noisy.call("DELETE", f"/v1/conversations/{id}", tenant=TENANT).status == 200
    page = exported(noisy, hidden["id"])
    assert (page["incomplete"], "prompt_ids" in page["responses"][0]["state"]) == (True, False)
    assert ids_of(SECRET) not in json.dumps(page, separators=(",", ":"))
    refused = noisy.call(
        "POST", "/v1/responses", {"model": MODEL, "previous_response_id": branch}, tenant=TENANT
    )
    assert (refused.status, refused.json["error"]["code"]) == (409, "conflict")


@pytest.mark.parametrize("terms", [{}, {"If_Match": "*"}])
def test_a_turn_that_comes_between_is_purged_as_well(
    store: SessionStore, clock: HandClock, place: Place, terms: dict[str, str]
) -> None:
    """A deletion that another writer was faster than looks again at all that holds the item."""

    def meddle() -> None:
        turn(door, conversation=id, input="And?")

    between = Meddled(meddle).wrap(store)
    door = Door(assemble(Settings(deadline_margin_ms=0), noisy_engine(), between, started_s=0.0, now=clock))
    id = door.call("POST", "/v1/conversations", {}, tenant=TENANT).json["id"]
    turn(door, conversation=id, input=SECRET)
    secret = store.items(TENANT, id, order="asc").data[0].id
    path = f"/v1/conversations/{id}/items/{secret}"
    assert door.call("DELETE", path, tenant=TENANT, **terms).status == 200
    assert len(store.items(TENANT, id).data) == 3
    assert ids_of(SECRET) not in everything_in(place)


def test_a_deletion_that_broke_off_is_made_again(store: SessionStore, clock: HandClock, place: Place) -> None:
    """The item goes last: as long as it is there the same request finishes the work."""

    def fail() -> None:
        raise Unavailable("The store is gone.")

    broken = Meddled(fail).wrap(store)
    door = Door(assemble(Settings(deadline_margin_ms=0), noisy_engine(), broken, started_s=0.0, now=clock))
    id = door.call("POST", "/v1/conversations", {}, tenant=TENANT).json["id"]
    turn(door, conversation=id, input=SECRET)
    path = f"/v1/conversations/{id}/items/{store.items(TENANT, id, order='asc').data[0].id}"
    terms = {"If_Match": f'"{store.get(TENANT, id).version}"'}
    assert door.call("DELETE", path, tenant=TENANT, **terms).status == 503
    assert door.call("GET", path, tenant=TENANT).status == 200
    assert door.call("DELETE", path, tenant=TENANT, **terms).status == 200
    assert SECRET not in everything_in(place)


class Meddled(Wrapper):
    """A store with something that happens before the first item is deleted."""

    def __init__(self, happens: Callable[[], None]) -> None:
        self._happenings = [happens]

    def delete_item(self, *where: Any, **terms: Any) -> Any:
        if self._happenings:
            self._happenings.pop()()
        return self.part.delete_item(*where, **terms)


@pytest.mark.parametrize("body", [{}, {"confirm": None}, {"confirm": True}, {"confirm": "yes"}, None])
def test_nothing_is_erased_by_accident(door: Door, body: Any) -> None:
    """Without the word it is 400 with the field's name, and an empty id in a path is not everything."""
    id = door.call("POST", "/v1/conversations", {}, tenant=TENANT).json["id"]
    refused = door.call("POST", "/v1/erase", body, tenant=TENANT)
    assert (refused.status, refused.json["error"]["param"]) == (400, "confirm")
    assert door.call("DELETE", "/v1/conversations/", tenant=TENANT).status == 405
    assert door.call("GET", f"/v1/conversations/{id}", tenant=TENANT).status == 200


def test_an_erasure_that_runs_out_of_time_goes_on(dynamodb_place: Place) -> None:
    """It ends in time with an error that says to ask again; asked again and again it comes to its end."""
    store = dynamodb_place.open(HandClock())
    furnish(store, TENANT)
    times = iter(range(10**6))
    engine = scripted_engine(lambda _: "OK.")
    settings = Settings(deadline_margin_ms=0, gateway_timeout_s=5)
    door = Door(assemble(settings, engine, store, started_s=0.0, clock=lambda: next(times) / 1.0))
    statuses = []
    while not statuses or statuses[-1] == 503:
        answer = door.call("POST", "/v1/erase", ERASE, tenant=TENANT)
        statuses.append(answer.status)
        if answer.status == 503:
            assert answer.json["error"]["code"] == "unfinished"
            assert answer.headers["x-should-retry"] == "true"
    assert statuses == [503] * (len(statuses) - 1) + [200]
    assert len(statuses) > 2
    assert rows_of(dynamodb_place) == 0


def test_what_only_a_fork_holds_is_erased(place: Place, store: SessionStore, clock: HandClock) -> None:
    """Items that a fork has kept from expiring go with it, though their own conversation is forgotten."""
    root = grow(store, store.create(TENANT, conversation("conv_a")), turns=3)
    fork = store.append(TENANT, root.fork("conv_b", at_seq=4, created_at_s=NOW_S), [message("msg_1")])
    for _ in range(4):
        clock.now_s += RETENTION_S * 0.6
        fork = grow(store, store.renew(TENANT, fork), turns=1)
        assert len(store.window(TENANT, fork, max_items=50).items) >= 4
    with pytest.raises(NotFound):
        store.get(TENANT, "conv_a")
    if place.kind != "sqlite":  # as DynamoDB's own TTL does, days later
        table = place.dynamo_table()
        for key in (("acme#conv_a", "HEAD"), ("acme#", f"CONV#{NOW_S:012d}#conv_a")):
            table.delete([key])
    store.erase(TENANT)
    assert rows_of(place) == 0


def test_a_deleted_response_leaves_no_part(dynamodb_place: Place) -> None:
    """A long response goes in one write: whoever is killed around it, it is whole or gone."""
    store = dynamodb_place.open(HandClock())
    made = response("resp_1", body={"text": "x" * 900_000})
    store.append(TENANT, conversation(), [message("msg_1")], response=made)
    before = rows_of(dynamodb_place)
    with faulty(
        dynamodb_place.address, lambda called: "broken" if called == "BatchWriteItem" else "none"
    ) as url:
        replace(dynamodb_place, address=url).open(HandClock()).delete_response(TENANT, "resp_1")
    assert rows_of(dynamodb_place) == before - 4
    with pytest.raises(NotFound):
        store.response(TENANT, "resp_1")


@pytest.mark.parametrize("operation", ["Query", "BatchWriteItem"])
def test_an_erasure_that_cannot_be_carried_out_is_an_error(dynamodb_place: Place, operation: str) -> None:
    """Never a success that left something."""
    store = dynamodb_place.open(HandClock())
    store.append(TENANT, conversation(), [message("msg_1")])
    with (
        faulty(dynamodb_place.address, lambda called: "broken" if called == operation else "none") as url,
        pytest.raises(Unavailable),
    ):
        replace(dynamodb_place, address=url).open(HandClock()).erase(TENANT)
    assert rows_of(dynamodb_place) > 0
