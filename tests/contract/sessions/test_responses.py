"""What every session store promises about responses, claims, counters, tenants and erasure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from handler.errors import Conflict, NotFound, VersionConflict
from handler.sessions import Claim, SessionStore, Usage
from handler.sessions.records import CLAIM_RETENTION_S, USAGE_RETENTION_S
from tests.contract.sessions.conftest import RETENTION_S
from tests.contract.sessions.stores import HandClock, Place, everything_in
from tests.contract.sessions.turns import NOW_S, TENANT, conversation, grow, message, response, seqs
from tests.unit.handler.conftest import Door
from tests.unit.handler.scripted_engine import MODEL


def test_a_response_knows_its_items(store: SessionStore) -> None:
    """A response comes back as stored, located at the items of its write."""
    held = grow(store, store.create(TENANT, conversation()), turns=2)
    new = response("resp_1", body={"a": [1.5, None, "🐭"], "b": {}}, state={"seed": 2**64 - 1})
    store.append(TENANT, held, [message("msg_5"), message("msg_6")], response=new)
    assert store.response(TENANT, "resp_1") == replace(new, first_seq=5, last_seq=6)


def test_a_responses_body_keeps_its_order(store: SessionStore) -> None:
    """The stored answer is given again byte for byte: its fields keep their order."""
    body = {"z": 1, "a": {"y": 2, "b": 3}}
    store.append(TENANT, conversation(), [], response=response("resp_1", body=body))
    assert repr(store.response(TENANT, "resp_1").body) == repr(body)


def test_a_response_without_items_is_kept(store: SessionStore) -> None:
    """A response that said nothing forks after the last item before it."""
    held = grow(store, store.create(TENANT, conversation()), turns=1)
    store.append(TENANT, held, [], response=response("resp_1"))
    found = store.response(TENANT, "resp_1")
    assert (found.first_seq, found.last_seq) == (3, 2)


@pytest.mark.parametrize("length", [10, 900_000])
def test_a_response_can_be_deleted(store: SessionStore, length: int) -> None:
    """Nothing remains of it, long or short; its items outlive it."""
    held = store.create(TENANT, conversation())
    made = response("resp_1", body={"text": "a" * length})
    store.append(TENANT, held, [message("msg_1")], response=made)
    assert store.response(TENANT, "resp_1") == replace(made, first_seq=1, last_seq=1)
    store.delete_response(TENANT, "resp_1")
    for gone in (
        lambda: store.response(TENANT, "resp_1"),
        lambda: store.delete_response(TENANT, "resp_1"),
    ):
        with pytest.raises(NotFound):
            gone()
    assert seqs(store.items(TENANT, "conv_a").data) == [1]


def test_the_responses_of_a_conversation(store: SessionStore) -> None:
    """All that were made in it are read, long ones whole; none of another's, and none that is gone."""
    held = store.create(TENANT, conversation())
    for n in range(130):
        made = response(f"resp_{n}", body={"text": "x" * (450_000 if n == 7 else 10)}, state={"n": n})
        held = store.append(TENANT, held, [], response=made)
    store.append(TENANT, conversation("conv_b"), [message("msg_1")], response=response("resp_b", "conv_b"))
    store.delete_response(TENANT, "resp_8")
    found = {made.id: made for made in store.responses(TENANT, "conv_a")}
    assert len(found) == 129
    assert all(made == store.response(TENANT, id) for id, made in found.items())
    assert list(store.responses("globex", "conv_a")) == list(store.responses(TENANT, "conv_c")) == []


@pytest.mark.parametrize("length", [900_000, 390_000, 10])
def test_what_is_left_of_an_item_and_a_response(
    place: Place, store: SessionStore, clock: HandClock, length: int
) -> None:
    """They are there with less in them and nothing more, under their numbers, for as long as before; the
    conversation has not moved.
    """
    held = store.create(TENANT, conversation())
    item = message("msg_1", "secret " + "a" * 900_000, role="assistant", token_ids=(1, 2))
    made = response("resp_1", body={"text": "secret " + "a" * 900_000}, state={"prompt_ids": [1, 2]})
    held = store.append(TENANT, held, [item, message("msg_2")], response=made)
    clock.now_s += 0.9 * RETENTION_S
    less = [
        replace(store.item(TENANT, "conv_a", "msg_1"), content=[{"text": "b" * length}], token_ids=()),
        replace(store.response(TENANT, "resp_1"), body={"text": "b" * length}, state={}),
    ]
    for value in less:
        store.redact(TENANT, held, value)
    assert [store.item(TENANT, "conv_a", "msg_1"), store.response(TENANT, "resp_1")] == less
    assert seqs(store.window(TENANT, held, max_items=5).items) == [1, 2]
    assert store.get(TENANT, "conv_a") == held
    assert "secret" not in everything_in(place)
    clock.now_s += 0.2 * RETENTION_S
    for gone in (
        lambda: store.get(TENANT, "conv_a"),
        lambda: store.response(TENANT, "resp_1"),
        lambda: store.redact(TENANT, held, less[1]),
    ):
        with pytest.raises(NotFound):
            gone()


def test_what_is_gone_is_not_redacted(store: SessionStore) -> None:
    """Who has read another version is refused; an item and a response that are gone do not come back."""
    seen = store.create(TENANT, conversation(), [message("msg_1")])
    held = store.append(TENANT, seen, [], response=response("resp_1"))
    values = [store.item(TENANT, "conv_a", "msg_1"), store.response(TENANT, "resp_1")]
    for value in values:
        with pytest.raises(VersionConflict):
            store.redact(TENANT, seen, value)
        with pytest.raises(NotFound):
            store.redact("globex", held, value)
    store.delete_response(TENANT, "resp_1")
    held = store.delete_item(TENANT, "conv_a", "msg_1")
    for value in values:
        store.redact(TENANT, held, value)
    assert store.items(TENANT, "conv_a").data == ()
    with pytest.raises(NotFound):
        store.response(TENANT, "resp_1")
    store.delete(TENANT, "conv_a")
    with pytest.raises(NotFound):
        store.redact(TENANT, held, values[0])


def test_a_conversation_is_no_response(store: SessionStore) -> None:
    """Where a response's id belongs, the id of the conversation that it was made in means nothing."""
    store.append(TENANT, conversation(), [message("msg_1")], response=response("resp_1"))
    for find in (
        lambda: store.response(TENANT, "conv_a"),
        lambda: store.delete_response(TENANT, "conv_a"),
    ):
        with pytest.raises(NotFound):
            find()
    assert store.response(TENANT, "resp_1").conversation_id == "conv_a"


def test_a_key_is_worked_on_by_one_at_a_time(store: SessionStore, clock: HandClock) -> None:
    """The first to claim a key has it; another is told until when; when the lease is over it can be taken."""
    mine = store.claim(TENANT, "key", owner="a", fingerprint="f", lease_s=30)
    assert (mine.state, mine.until_s) == ("mine", NOW_S + 30)
    theirs = store.claim(TENANT, "key", owner="b", fingerprint="f", lease_s=30)
    assert (theirs.state, theirs.owner, theirs.until_s) == ("running", "a", NOW_S + 30)
    clock.now_s += 30
    assert store.claim(TENANT, "key", owner="b", fingerprint="f", lease_s=30).state == "mine"
    assert store.claim(TENANT, "key", owner="a", fingerprint="f", lease_s=30).state == "running"


def test_a_turn_settles_its_claim(store: SessionStore, clock: HandClock) -> None:
    """Whoever asks with the key after the turn is told the response, lease or no lease."""
    claim = store.claim(TENANT, "key", owner="a", fingerprint="f", lease_s=30)
    claim = replace(claim, result="resp_1")
    store.append(TENANT, conversation(), [message("msg_1")], response=response("resp_1"), claim=claim)
    clock.now_s += 60
    again = store.claim(TENANT, "key", owner="b", fingerprint="f", lease_s=30)
    assert (again.state, again.result) == ("done", "resp_1")
    assert store.response(TENANT, "resp_1").body["id"] == "resp_1"
    store.release(TENANT, claim)
    assert store.claim(TENANT, "key", owner="c", fingerprint="f", lease_s=30).state == "done"


def test_a_writer_that_lost_its_claim_writes_nothing(store: SessionStore, clock: HandClock) -> None:
    """Of two attempts at one request only the holder of the claim commits, even into separate threads."""
    slow = store.claim(TENANT, "key", owner="a", fingerprint="f", lease_s=30)
    clock.now_s += 31
    quick = store.claim(TENANT, "key", owner="b", fingerprint="f", lease_s=30)
    with pytest.raises(Conflict):
        store.append(
            TENANT,
            conversation("conv_a"),
            [message("msg_1")],
            response=response("resp_1"),
            claim=replace(slow, result="resp_1"),
        )
    store.append(
        TENANT,
        conversation("conv_b"),
        [message("msg_2")],
        response=response("resp_2", "conv_b"),
        claim=replace(quick, result="resp_2"),
    )
    with pytest.raises(NotFound):
        store.get(TENANT, "conv_a")


def test_a_write_settles_a_claim_that_nobody_took(store: SessionStore) -> None:
    """A claim that was not stored before is stored settled, in the write that it is for, with or without a
    response."""
    claim = Claim("key", "a", "mine", "f", result="conv_a")
    store.create(TENANT, conversation(), claim=claim)
    again = store.claim(TENANT, "key", owner="b", fingerprint="f", lease_s=30)
    assert (again.state, again.owner, again.result) == ("done", "a", "conv_a")
    with pytest.raises(Conflict):
        store.create(TENANT, conversation("conv_b"), claim=replace(claim, owner="b", result="conv_b"))
    with pytest.raises(NotFound):
        store.get(TENANT, "conv_b")


def test_the_newest_claim_of_a_prefix(store: SessionStore, clock: HandClock) -> None:
    """Of the claims under a prefix the one with the greatest key is read, if it is not before `since`."""
    assert store.newest_claim(TENANT, "a:", since="0") is None
    for key in ("a:1", "a:3", "a:2", "b:9", "a"):
        store.claim(TENANT, key, owner="w", fingerprint=key, lease_s=30)
    newest = store.newest_claim(TENANT, "a:", since="0")
    assert newest is not None
    assert (newest.key, newest.owner, newest.state, newest.fingerprint) == ("a:3", "w", "running", "a:3")
    assert store.newest_claim(TENANT, "a:", since="4") is None
    assert store.newest_claim("globex", "a:", since="0") is None
    clock.now_s += 31
    lapsed = store.newest_claim(TENANT, "a:", since="3")
    assert lapsed is not None
    assert lapsed.state == "lapsed"
    assert store.claim(TENANT, "a:3", owner="x", fingerprint="a:3", lease_s=30).state == "mine"


def test_changes_on_condition_of_a_version(store: SessionStore) -> None:
    """What was asked for one version of a conversation is refused at another, and changes nothing."""
    held = store.create(TENANT, conversation(), [message("msg_1")])
    for change in (
        lambda version: store.update(TENANT, "conv_a", metadata={"a": "b"}, if_version=version),
        lambda version: store.delete_item(TENANT, "conv_a", "msg_1", if_version=version),
        lambda version: store.delete(TENANT, "conv_a", if_version=version),
    ):
        with pytest.raises(VersionConflict) as caught:
            change(held.version + 1)
        assert (caught.value.expected, caught.value.current) == (held.version + 1, held.version)
        assert store.get(TENANT, "conv_a") == held
    assert store.update(TENANT, "conv_a", metadata={"a": "b"}, if_version=1).metadata == {"a": "b"}
    assert store.delete_item(TENANT, "conv_a", "msg_1", if_version=1).version == 2
    store.delete(TENANT, "conv_a", if_version=2)
    with pytest.raises(NotFound):
        store.get(TENANT, "conv_a")


def test_a_released_key_is_free(store: SessionStore) -> None:
    """A request that failed leaves nobody waiting; releasing what is not ours changes nothing."""
    claim = store.claim(TENANT, "key", owner="a", fingerprint="f", lease_s=30)
    store.release(TENANT, replace(claim, owner="b"))
    assert store.claim(TENANT, "key", owner="b", fingerprint="f", lease_s=30).state == "running"
    store.release(TENANT, claim)
    assert store.claim(TENANT, "key", owner="b", fingerprint="f", lease_s=30).state == "mine"


def test_a_key_belongs_to_one_request(store: SessionStore) -> None:
    """The same key with another request is refused."""
    store.claim(TENANT, "key", owner="a", fingerprint="f", lease_s=30)
    with pytest.raises(Conflict) as caught:
        store.claim(TENANT, "key", owner="b", fingerprint="g", lease_s=30)
    assert caught.value.error_code == "idempotency_key_reused"


def test_counters_add_up_by_period(store: SessionStore) -> None:
    """Every addition is counted once, in its own period."""
    assert store.usage(TENANT, "2026-11-23") == Usage()
    store.add_usage(TENANT, "2026-11-23", Usage(10, 2, 5, 1))
    assert store.add_usage(TENANT, "2026-11-23", Usage(1, 0, 1, 1)) == Usage(11, 2, 6, 2)
    assert store.usage(TENANT, "2026-11-23") == Usage(11, 2, 6, 2)
    assert store.usage(TENANT, "2026-11-24") == Usage()


def test_keys_and_counters_are_forgotten_in_time(store: SessionStore, clock: HandClock) -> None:
    """A key after a day, a day's counters after more than a year; not a second before."""
    store.claim(TENANT, "key", owner="a", fingerprint="f", lease_s=30)
    store.add_usage(TENANT, "2026-11-23", Usage(1))
    clock.now_s += CLAIM_RETENTION_S - 1
    with pytest.raises(Conflict):
        store.claim(TENANT, "key", owner="b", fingerprint="g", lease_s=30)
    clock.now_s += 1
    assert store.claim(TENANT, "key", owner="b", fingerprint="g", lease_s=30).state == "mine"
    clock.now_s = NOW_S + USAGE_RETENTION_S - 1
    assert store.usage(TENANT, "2026-11-23") == Usage(1)
    clock.now_s += 1
    assert store.usage(TENANT, "2026-11-23") == Usage()


@pytest.mark.parametrize("other", ["globex", "acme#conv", "acme%23", "ACME", ""])
def test_a_tenants_ids_mean_nothing_to_another(store: SessionStore, other: str) -> None:
    """Whatever the other's name, every method answers as if there were nothing."""
    claim = store.claim(TENANT, "key", owner="a", fingerprint="f", lease_s=30)
    claim = replace(claim, result="resp_1")
    held = store.append(
        TENANT, conversation(), [message("msg_1")], response=response("resp_1"), claim=claim, usage=Usage(1)
    )
    store.add_usage(TENANT, "2026-11-23", Usage(1))
    for find in (
        lambda: store.get(other, "conv_a"),
        lambda: store.update(other, "conv_a", title="theirs"),
        lambda: store.delete(other, "conv_a"),
        lambda: store.items(other, "conv_a"),
        lambda: store.item(other, "conv_a", "msg_1"),
        lambda: store.delete_item(other, "conv_a", "msg_1"),
        lambda: store.append(other, held, [message("msg_2")]),
        lambda: store.conversations(other, after="conv_a"),
        lambda: store.response(other, "resp_1"),
        lambda: store.delete_response(other, "resp_1"),
    ):
        with pytest.raises(NotFound):
            find()
    assert store.window(other, held, max_items=10).items == ()
    assert store.conversations(other).data == ()
    assert store.usage(other, "2026-11-23") == Usage()
    assert store.claim(other, "key", owner="b", fingerprint="g", lease_s=30).state == "mine"
    assert store.create(other, conversation(title="theirs"), [message("msg_1")]).title == "theirs"
    store.erase(other)
    assert store.get(TENANT, "conv_a") == held
    assert store.response(TENANT, "resp_1")


def test_an_erased_tenant_has_left_nothing(store: SessionStore) -> None:
    """Conversations, hidden or not, responses, claims and counters are all gone; others' are not."""
    root = grow(store, store.create(TENANT, conversation("conv_a")), turns=20)
    claim = store.claim(TENANT, "key", owner="a", fingerprint="f", lease_s=30)
    claim = replace(claim, result="resp_1")
    fork = root.fork("conv_b", at_seq=2, created_at_s=NOW_S)
    fork = store.append(TENANT, fork, [message("msg_1")], response=response("resp_1", "conv_b"), claim=claim)
    store.add_usage(TENANT, "2026-11-23", Usage(1))
    store.create("globex", conversation("conv_a"), [message("msg_1")])
    store.erase(TENANT)
    for gone in (
        lambda: store.get(TENANT, "conv_a"),
        lambda: store.get(TENANT, "conv_b"),
        lambda: store.response(TENANT, "resp_1"),
    ):
        with pytest.raises(NotFound):
            gone()
    assert store.conversations(TENANT).data == ()
    assert store.window(TENANT, fork, max_items=100).items == ()
    assert store.usage(TENANT, "2026-11-23") == Usage()
    assert store.claim(TENANT, "key", owner="b", fingerprint="g", lease_s=30).state == "mine"
    assert store.get("globex", "conv_a")


def test_what_a_newer_version_wrote_can_be_read(door: Door, store: SessionStore) -> None:
    """Beside a canary or after a rollback: what this version does not know is passed over, wherever it is,
    and the answer is given, told, continued and called off as ever.
    """
    asked = {
        "model": MODEL,
        "input": "Hi",
        "max_output_tokens": 2,
        "include": ["message.output_text.logprobs"],
    }
    cut = door.call("POST", "/v1/responses", asked, tenant=TENANT).json
    stored = store.response(TENANT, cut["id"])
    head = store.get(TENANT, stored.conversation_id)
    item = store.item(TENANT, head.id, cut["output"][0]["id"])
    newer = replace(item, sampling={**item.sampling, "new": 1}, content=_marked(item.content))
    body = replace(stored, body=_marked(stored.body), state={**stored.state, "new": 1})
    store.replace_last(TENANT, head, newer, response=body)

    place = f"/v1/responses/{cut['id']}"
    assert door.call("GET", place, tenant=TENANT).json == cut
    told = door.call("GET", f"{place}?stream=true", tenant=TENANT)
    assert told.events[-1]["response"] == cut
    cancelled = door.call("POST", f"{place}/cancel", tenant=TENANT)
    assert (cancelled.status, cancelled.json["error"]["code"]) == (400, "response_already_ended")
    items = f"/v1/conversations/{head.id}/items?include=message.output_text.logprobs"
    assert door.call("GET", items, tenant=TENANT).json["data"][0] == cut["output"][0]
    onward = {"model": MODEL, "previous_response_id": cut["id"]}
    rest = door.call("POST", "/v1/responses", onward, tenant=TENANT).json
    texts = [each["output"][0]["content"][0]["text"] for each in (cut, rest)]
    assert "".join(texts) == "I am fine, thank you."


def _marked(value: Any) -> Any:
    """The same with a field more in every object, but for those that are open to any."""
    if isinstance(value, list):
        return [_marked(each) for each in value]
    if not isinstance(value, dict):
        return value
    marked = {name: each if name == "metadata" else _marked(each) for name, each in value.items()}
    return {**marked, "new": {"a": 1}}
