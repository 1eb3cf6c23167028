"""What every session store promises about conversations and their items."""

from __future__ import annotations

import pytest

from handler.errors import Conflict, NotFound, TooLarge, VersionConflict
from handler.sessions import MAX_ITEMS_PER_WRITE, MAX_WRITE_BYTES, Order, SessionStore, Usage
from tests.contract.sessions.turns import TENANT, conversation, grow, message, response, seqs
from tests.unit.handler.conftest import Door
from tests.unit.handler.scripted_engine import MODEL


def test_a_conversation_comes_back_as_it_was_stored(store: SessionStore) -> None:
    """All fields of a head survive, whatever script its title and metadata are in."""
    stored = store.create(TENANT, conversation(metadata={"topic": "sleep 睡鼠"}, title="🐭 – Ḧi"))
    assert stored.version == 1
    assert store.get(TENANT, "conv_a") == stored
    assert stored.metadata == {"topic": "sleep 睡鼠"}


def test_items_come_back_as_they_were_stored(store: SessionStore) -> None:
    """All fields of an item survive, and the store numbers it."""
    item = message(
        "msg_1",
        "line\n\u2028 \x00 𝔘𝔫𝔦 \ud800",
        role="assistant",
        status="incomplete",
        fields={"name": "f", "arguments": '{"x": 1e400}'},
        response_id="resp_1",
        token_ids=(1, 2, 50_000),
        sampling={"seed": 2**63, "temperature": 0.1},
        continues="msg_0",
    )
    store.create(TENANT, conversation(), [item])
    (found,) = store.items(TENANT, "conv_a").data
    assert found.seq == 1
    assert found == store.item(TENANT, "conv_a", "msg_1")
    assert {**vars(found), "seq": 0} == vars(item)


def test_an_id_is_taken_once(store: SessionStore) -> None:
    """A second conversation, item or response with an id is refused and changes nothing."""
    held = store.create(TENANT, conversation(title="first"), [message("msg_1")])
    held = store.append(TENANT, held, [message("msg_2")], response=response("resp_1"))
    with pytest.raises(Conflict):
        store.create(TENANT, conversation(title="second"))
    with pytest.raises(Conflict):
        store.append(TENANT, held, [message("msg_3"), message("msg_1")])
    with pytest.raises(Conflict):
        store.append(TENANT, held, [message("msg_4")], response=response("resp_1"))
    assert store.get(TENANT, "conv_a") == held
    assert seqs(store.items(TENANT, "conv_a", order="asc").data) == [1, 2]


def test_a_turn_is_conditioned_on_the_version_it_was_made_for(store: SessionStore) -> None:
    """Of two turns made for one version the second is refused, and told the current version."""
    seen = store.create(TENANT, conversation())
    store.append(TENANT, seen, [message("msg_1", "mine")])
    with pytest.raises(VersionConflict) as caught:
        store.append(TENANT, seen, [message("msg_2", "theirs")], response=response("resp_2"))
    assert (caught.value.expected, caught.value.current) == (1, 2)
    assert [item.id for item in store.items(TENANT, "conv_a").data] == ["msg_1"]
    with pytest.raises(NotFound):
        store.response(TENANT, "resp_2")


def test_a_turn_written_twice_is_stored_once(store: SessionStore) -> None:
    """The same append again, as after a lost acknowledgement, answers with what is stored."""
    seen = store.create(TENANT, conversation())
    turn = [message("msg_1"), message("msg_2", role="assistant")]
    written = store.append(TENANT, seen, turn, response=response("resp_1"), usage=Usage(5, 0, 3, 1))
    again = store.append(TENANT, seen, turn, response=response("resp_1"), usage=Usage(5, 0, 3, 1))
    assert again == written == store.get(TENANT, "conv_a")
    assert seqs(store.items(TENANT, "conv_a", order="asc").data) == [1, 2]


def test_a_new_thread_written_twice_is_stored_once(store: SessionStore) -> None:
    """A turn that brings its conversation along can be repeated, too."""
    new, turn = conversation(hidden=True), [message("msg_1")]
    assert store.append(TENANT, new, turn) == store.append(TENANT, new, turn)


def test_a_turn_adds_to_the_conversations_usage(store: SessionStore) -> None:
    """Counters of a conversation are the sum over its turns."""
    held = store.append(TENANT, conversation(), [message("msg_1")], usage=Usage(10, 0, 5, 1))
    held = store.append(TENANT, held, [message("msg_2")], usage=Usage(20, 10, 7, 1))
    assert held.usage == store.get(TENANT, "conv_a").usage == Usage(30, 10, 12, 2)


def test_renaming_does_not_spoil_a_turn_in_progress(store: SessionStore) -> None:
    """Title and metadata change without the version, and a turn made before keeps them."""
    seen = store.create(TENANT, conversation(title="old", metadata={"a": "1"}))
    assert store.update(TENANT, "conv_a", title="new").metadata == {"a": "1"}
    assert store.update(TENANT, "conv_a", metadata={"b": "2"}).title == "new"
    store.append(TENANT, seen, [message("msg_1")])
    found = store.get(TENANT, "conv_a")
    assert (found.title, found.metadata, found.version) == ("new", {"b": "2"}, 2)


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_join_to_the_whole(store: SessionStore, order: Order) -> None:
    """Pages in either order hold every item once, and the last one says that it is the last."""
    grow(store, store.create(TENANT, conversation()), turns=6)
    found, after, has_more = [], None, True
    while has_more:
        page = store.items(TENANT, "conv_a", limit=5, after=after, order=order)
        found += seqs(page.data)
        after, has_more = page.data[-1].id, page.has_more
    assert found == (list(range(1, 13)) if order == "asc" else list(range(12, 0, -1)))


def test_a_page_that_ends_with_the_list_is_the_last(store: SessionStore) -> None:
    """No empty page follows a full one that was the last."""
    grow(store, store.create(TENANT, conversation()), turns=2)
    assert not store.items(TENANT, "conv_a", limit=4).has_more
    assert store.items(TENANT, "conv_a", limit=3).has_more


def test_conversations_are_listed_newest_first(store: SessionStore) -> None:
    """The listing pages through the visible conversations by age; hidden ones are left out."""
    for n in range(5):
        store.create(TENANT, conversation(f"conv_{n}", created_at_s=1_000 + n // 2))
    store.append(TENANT, conversation("conv_x", hidden=True), [message("msg_1")])
    first = store.conversations(TENANT, limit=3)
    rest = store.conversations(TENANT, limit=3, after=first.data[-1].id)
    assert [c.id for c in first.data + rest.data] == ["conv_4", "conv_3", "conv_2", "conv_1", "conv_0"]
    assert (first.has_more, rest.has_more) == (True, False)
    oldest = store.conversations(TENANT, limit=2, order="asc")
    assert [c.id for c in oldest.data] == ["conv_0", "conv_1"]


def test_a_deleted_item_is_gone_and_its_number_is_not_used_again(store: SessionStore) -> None:
    """Deleting an item raises the version, and a turn made with the item in view is refused."""
    seen = grow(store, store.create(TENANT, conversation()), turns=2)
    held = store.delete_item(TENANT, "conv_a", "msg_conv_a_4")
    assert held.version == seen.version + 1
    with pytest.raises(VersionConflict):
        store.append(TENANT, seen, [message("msg_late")])
    store.append(TENANT, held, [message("msg_5")])
    assert seqs(store.items(TENANT, "conv_a", order="asc").data) == [1, 2, 3, 5]
    with pytest.raises(NotFound):
        store.item(TENANT, "conv_a", "msg_conv_a_4")
    with pytest.raises(NotFound):
        store.delete_item(TENANT, "conv_a", "msg_conv_a_4")


def test_a_title_goes_with_the_item_that_it_is_of(door: Door, store: SessionStore) -> None:
    """Deleting what a conversation is named by unnames it, until somebody speaks in it; another item's name
    stays.
    """
    said = [{"role": "user", "content": text} for text in ("My PIN is 48219", "Hello")]
    id = door.call("POST", "/v1/conversations", {"items": said}, tenant=TENANT).json["id"]
    first, second = store.items(TENANT, id, order="asc").data
    for item, title in ((second, "My PIN is 48219"), (first, "")):
        left = door.call("DELETE", f"/v1/conversations/{id}/items/{item.id}", tenant=TENANT).json
        assert left["dormouse"]["title"] == store.get(TENANT, id).title == title
        (listed,) = door.call("GET", "/v1/conversations", tenant=TENANT).json["data"]
        assert listed == left
    body = {"model": MODEL, "conversation": id, "input": "How are you?"}
    assert door.call("POST", "/v1/responses", body, tenant=TENANT).status == 200
    assert store.get(TENANT, id).title == "How are you?"


def test_a_deleted_conversation_takes_everything_with_it(store: SessionStore) -> None:
    """Items and responses of a deleted conversation are gone, and its id can be used anew."""
    held = store.append(TENANT, conversation(), [message("msg_1")], response=response("resp_1"))
    store.delete(TENANT, "conv_a")
    for gone in (
        lambda: store.get(TENANT, "conv_a"),
        lambda: store.items(TENANT, "conv_a"),
        lambda: store.response(TENANT, "resp_1"),
        lambda: store.append(TENANT, held, [message("msg_2")]),
        lambda: store.delete(TENANT, "conv_a"),
    ):
        with pytest.raises(NotFound):
            gone()
    assert store.conversations(TENANT).data == ()
    store.create(TENANT, conversation(), [message("msg_1", "anew")])
    assert len(store.items(TENANT, "conv_a").data) == 1


def test_too_much_for_one_write_is_refused_whole(store: SessionStore) -> None:
    """The limits are the same for every store, and a refused write leaves nothing."""
    full = store.create(TENANT, conversation(), [message(f"msg_{n}") for n in range(MAX_ITEMS_PER_WRITE)])
    assert full.last_seq == MAX_ITEMS_PER_WRITE
    with pytest.raises(TooLarge):
        store.append(TENANT, full, [message(f"msg_x{n}") for n in range(MAX_ITEMS_PER_WRITE + 1)])
    with pytest.raises(TooLarge):
        store.append(TENANT, full, [message("msg_long", "字" * (MAX_WRITE_BYTES // 3))])
    assert store.get(TENANT, "conv_a") == full


@pytest.mark.parametrize("length", [400_000, 1_150_000])
def test_long_content_comes_back_whole(store: SessionStore, length: int) -> None:
    """Content above DynamoDB's 400 KB an item is kept, paged and deleted like any other."""
    text = ("睡鼠 dormouse 🐭 " * length)[:length]
    held = store.create(TENANT, conversation(), [message("msg_1"), message("msg_2", text), message("msg_3")])
    assert store.item(TENANT, "conv_a", "msg_2").content[0]["text"] == text
    assert seqs(store.items(TENANT, "conv_a", limit=2, order="asc").data) == [1, 2]
    assert seqs(store.items(TENANT, "conv_a", limit=2, order="desc").data) == [3, 2]
    window = store.window(TENANT, held, max_items=2)
    assert (seqs(window.items), window.items[0].content[0]["text"] == text) == ([2, 3], True)
    store.delete_item(TENANT, "conv_a", "msg_2")
    assert seqs(store.items(TENANT, "conv_a", order="asc").data) == [1, 3]


@pytest.mark.parametrize("id", ["", "conv_b", "conv_a#", "conv/../a", "\ud800", "x" * 5000, "conv_a\n"])
def test_what_could_not_be_an_id_is_absent(store: SessionStore, id: str) -> None:
    """Any text is accepted where an id is asked for, and finds nothing."""
    store.create(TENANT, conversation(), [message("msg_1")])
    for find in (
        lambda: store.get(TENANT, id),
        lambda: store.item(TENANT, "conv_a", id),
        lambda: store.items(TENANT, "conv_a", after=id),
        lambda: store.conversations(TENANT, after=id),
        lambda: store.delete_item(TENANT, "conv_a", id),
        lambda: store.response(TENANT, id),
        lambda: store.delete(TENANT, id),
    ):
        with pytest.raises(NotFound):
            find()
