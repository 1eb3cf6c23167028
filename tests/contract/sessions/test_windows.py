"""What every session store promises about windows, forks and retention."""

from __future__ import annotations

import pytest

from handler.errors import NotFound
from handler.sessions import SessionStore
from tests.contract.sessions.conftest import RETENTION_S
from tests.contract.sessions.stores import HandClock, Place
from tests.contract.sessions.turns import NOW_S, TENANT, conversation, grow, message, response, seqs


def test_a_window_is_the_newest_items_in_order(store: SessionStore) -> None:
    """The window ends with the newest item and says whether older ones were left out."""
    held = grow(store, store.create(TENANT, conversation()), turns=4)
    window = store.window(TENANT, held, max_items=3)
    assert (seqs(window.items), window.has_more, window.incomplete) == ([6, 7, 8], True, False)
    assert not store.window(TENANT, held, max_items=8).has_more
    assert seqs(store.window(TENANT, held, max_items=3, upto_seq=5).items) == [3, 4, 5]


def test_a_window_shows_the_conversation_as_it_was_read(store: SessionStore) -> None:
    """Items of a turn that came later are not in it."""
    seen = grow(store, store.create(TENANT, conversation()), turns=1)
    grow(store, seen, turns=1)
    assert seqs(store.window(TENANT, seen, max_items=10).items) == [1, 2]


def test_an_unstored_conversation_has_an_empty_window(store: SessionStore) -> None:
    """The first turn reads its window like any other."""
    assert store.window(TENANT, conversation(), max_items=10).items == ()


def test_a_fork_goes_on_where_it_left_its_parent(store: SessionStore) -> None:
    """The window of a fork of a fork runs through both ancestors up to where they were left."""
    root = grow(store, store.create(TENANT, conversation("conv_a")), turns=3)
    child = grow(store, root.fork("conv_b", at_seq=4, created_at_s=NOW_S), turns=2)
    grandchild = grow(store, child.fork("conv_c", at_seq=6, created_at_s=NOW_S), turns=1)
    window = store.window(TENANT, store.get(TENANT, "conv_c"), max_items=100)
    assert [item.id for item in window.items] == [
        *(f"msg_conv_a_{n}" for n in (1, 2, 3, 4)),
        *(f"msg_conv_b_{n}" for n in (5, 6)),
        *(f"msg_conv_c_{n}" for n in (7, 8)),
    ]
    assert seqs(window.items) == list(range(1, 9))
    assert seqs(store.window(TENANT, grandchild, max_items=3).items) == [6, 7, 8]
    assert store.get(TENANT, "conv_a").last_seq == 6


def test_a_fork_within_an_ancestor_passes_over_the_parent(store: SessionStore) -> None:
    """A fork from an item that the parent only inherited hangs on the ancestor that holds it."""
    root = grow(store, store.create(TENANT, conversation("conv_a")), turns=2)
    child = grow(store, root.fork("conv_b", at_seq=4, created_at_s=NOW_S), turns=1)
    sibling = child.fork("conv_c", at_seq=2, created_at_s=NOW_S)
    assert [part.conversation_id for part in sibling.lineage] == ["conv_a"]
    assert seqs(store.window(TENANT, grow(store, sibling, turns=1), max_items=9).items) == [1, 2, 3, 4]


def test_a_fork_says_when_its_history_is_gone(store: SessionStore) -> None:
    """Deleting the parent takes its items out of the fork's window, and the window is marked."""
    root = grow(store, store.create(TENANT, conversation("conv_a")), turns=1)
    child = grow(store, root.fork("conv_b", at_seq=2, created_at_s=NOW_S), turns=1)
    store.delete(TENANT, "conv_a")
    window = store.window(TENANT, child, max_items=10)
    assert (seqs(window.items), window.incomplete) == ([3, 4], True)


def test_what_has_expired_is_invisible_at_once(store: SessionStore, clock: HandClock) -> None:
    """At the second of its expiry a record is absent, though nothing has deleted it."""
    held = store.append(TENANT, conversation(), [message("msg_1")], response=response("resp_1"))
    fork = store.append(TENANT, held.fork("conv_b", at_seq=1, created_at_s=NOW_S), [message("msg_2")])
    clock.now_s += RETENTION_S - 1
    assert store.response(TENANT, "resp_1")
    assert store.get(TENANT, "conv_a")
    clock.now_s += 1
    for gone in (
        lambda: store.get(TENANT, "conv_a"),
        lambda: store.items(TENANT, "conv_a"),
        lambda: store.item(TENANT, "conv_a", "msg_1"),
        lambda: store.response(TENANT, "resp_1"),
        lambda: store.update(TENANT, "conv_a", title="x"),
        lambda: store.append(TENANT, held, [message("msg_3")]),
        lambda: store.delete(TENANT, "conv_a"),
        lambda: store.delete_response(TENANT, "resp_1"),
    ):
        with pytest.raises(NotFound):
            gone()
    assert store.conversations(TENANT).data == ()
    clock.now_s += RETENTION_S / 2
    window = store.window(TENANT, fork, max_items=10)
    assert (window.items, window.incomplete) == ((), True)


def test_an_expired_id_can_be_used_anew(store: SessionStore, clock: HandClock) -> None:
    """Whatever an expired conversation has left does not show in a new one with its id."""
    store.create(TENANT, conversation(title="old"), [message("msg_1", "old"), message("msg_2", "old")])
    clock.now_s += RETENTION_S
    anew = store.append(TENANT, conversation(title="new"), [message("msg_3", "new")])
    assert store.get(TENANT, "conv_a") == anew
    assert [item.content[0]["text"] for item in store.items(TENANT, "conv_a").data] == ["new"]
    assert [item.id for item in store.window(TENANT, anew, max_items=5).items] == ["msg_3"]


def test_a_conversation_in_use_does_not_expire(store: SessionStore, clock: HandClock) -> None:
    """Turns renew the head, the directory entry, and all items, those of an ancestor included."""
    root = grow(store, store.create(TENANT, conversation()), turns=4)
    held = grow(store, root.fork("conv_b", at_seq=6, created_at_s=NOW_S), turns=1)
    for _ in range(8):
        clock.now_s += RETENTION_S * 0.6
        held = grow(store, store.renew(TENANT, store.get(TENANT, "conv_b")), turns=1)
    clock.now_s += RETENTION_S - 1
    assert seqs(store.window(TENANT, held, max_items=50).items) == list(range(1, 25))
    assert len(store.items(TENANT, "conv_b", limit=100).data) == 18
    assert store.item(TENANT, "conv_b", "msg_conv_b_7").seq == 7
    assert [c.id for c in store.conversations(TENANT, hidden=True).data] == ["conv_b"]
    with pytest.raises(NotFound):
        store.get(TENANT, "conv_a")


def test_items_last_as_long_as_their_conversation(store: SessionStore, clock: HandClock) -> None:
    """However far into its retention a turn is taken, each item is there as long as the head is."""
    for n, part in enumerate((0.1, 0.4, 0.51, 0.7, 0.99)):
        held = grow(store, store.create(TENANT, conversation(f"conv_{n}")), turns=2)
        clock.now_s += RETENTION_S * part
        held = grow(store, store.renew(TENANT, held), turns=1)
        clock.now_s += RETENTION_S - 1
        assert len(store.window(TENANT, store.get(TENANT, f"conv_{n}"), max_items=50).items) == 6


@pytest.mark.parametrize("later_s", [10 * RETENTION_S, None])
def test_a_longer_retention_counts_from_the_next_turn(
    place: Place, clock: HandClock, later_s: float | None
) -> None:
    """Of all that was said before, an ancestor's items and the directory entry included; None is for ever."""
    store = place.open(clock, RETENTION_S)
    root = grow(store, store.create(TENANT, conversation()), turns=2)
    grow(store, root.fork("conv_b", at_seq=3, created_at_s=NOW_S), turns=1)
    store.close()
    clock.now_s += RETENTION_S * 0.2
    store = place.open(clock, later_s)
    for id in ("conv_a", "conv_b"):
        grow(store, store.renew(TENANT, store.get(TENANT, id)), turns=1)
    clock.now_s += RETENTION_S * 9
    for id, length, hidden in (("conv_a", 6, False), ("conv_b", 7, True)):
        assert len(store.window(TENANT, store.get(TENANT, id), max_items=50).items) == length
        assert [found.id for found in store.conversations(TENANT, hidden=hidden).data] == [id]
    store.close()


@pytest.mark.parametrize("place", ["sqlite", "dynamodb"], indirect=True)
def test_a_long_conversation_is_kept_a_part_a_turn(store: SessionStore, clock: HandClock) -> None:
    """What is too much for one turn is renewed by the next ones, of a fork too that is made in between."""
    held = store.create(TENANT, conversation())
    while held.last_seq < 720:
        held = store.append(TENANT, held, [message(f"msg_{held.last_seq + n}") for n in range(1, 41)])
    clock.now_s += RETENTION_S * 0.9
    held = grow(store, store.renew(TENANT, held), turns=1)
    fork = grow(store, held.fork("conv_b", at_seq=700, created_at_s=NOW_S), turns=1)
    clock.now_s += RETENTION_S * 0.5
    held = grow(store, store.renew(TENANT, store.get(TENANT, "conv_a")), turns=1)
    for _ in range(2):
        fork = grow(store, store.renew(TENANT, store.get(TENANT, "conv_b")), turns=1)
    clock.now_s += RETENTION_S - 1
    assert seqs(store.window(TENANT, held, max_items=1_000).items) == list(range(1, 725))
    assert seqs(store.window(TENANT, fork, max_items=1_000).items) == list(range(1, 707))
    for n in (1, 360, 720):
        assert store.item(TENANT, "conv_a", f"msg_{n}").seq == n


def test_a_window_over_long_items_is_whole(store: SessionStore) -> None:
    """A window of items that need several pages of several rows each has all of them in order."""
    held = store.create(TENANT, conversation())
    for n in range(6):
        held = store.append(TENANT, held, [message(f"msg_{n}", str(n) * 500_000), message(f"msg_{n}x")])
    window = store.window(TENANT, held, max_items=9)
    assert seqs(window.items) == list(range(4, 13))
    assert window.items[1].content[0]["text"] == "2" * 500_000
