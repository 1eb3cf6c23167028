"""Values as rows and texts, and back: nothing is lost on the way, whatever its size or script."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from handler.errors import Conflict, TooLarge
from handler.sessions import Claim, Conversation, Item, StoredResponse, Usage
from handler.sessions import dynamo_rows as rows
from handler.sessions.dynamo_request import Put, key_of, plain, request_of
from handler.sessions.records import Turn, contend, dump_item, load_item

texts = st.text(st.characters(), max_size=40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
items = st.builds(
    Item,
    id=st.from_regex(r"msg_[a-z0-9]{1,8}", fullmatch=True),
    created_at_s=st.integers(0, 2**40),
    role=st.none() | st.sampled_from(["user", "assistant"]),
    content=st.lists(json_values, min_size=1, max_size=3),
    fields=st.dictionaries(texts, json_values, max_size=3),
    token_ids=st.lists(st.integers(0, 200_000), max_size=5).map(tuple),
    seq=st.integers(1, 10**9),
)


def stored_bytes(row: rows.Row) -> int:
    """What DynamoDB counts: names and texts in UTF-8, numbers at no more than a byte a digit.

    Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    """
    return sum(len(name.encode()) + len(str(value).encode()) for name, value in row.items())


@given(items)
@example(Item(id="msg_0", created_at_s=0, content=[None], fields={"\ud800": None}, seq=1))
def test_an_item_survives_as_text(item: Item) -> None:
    """Any JSON comes back equal, lone surrogates included, and its text is always valid UTF-8."""
    text = dump_item(item)
    text.encode()
    assert load_item(text, seq=item.seq) == item


@settings(max_examples=25)
@example([Item(id="msg_0", created_at_s=0, content=[None], fields={"\ud800": None}, seq=1)], 2, False)
@given(st.lists(items, max_size=4), st.integers(1, 3), st.booleans())
def test_items_survive_as_rows(several: list[Item], parts: int, newest_first: bool) -> None:
    """Items of one or several rows come back in either order of their keys."""
    unique = {item.seq: item for item in several}
    pad = "睡" * (rows.PART_BYTES * (parts - 1) // 3)
    padded = {seq: Item(**{**vars(item), "response_id": pad}) for seq, item in unique.items()}
    stored = [row for item in padded.values() for row in rows.item_rows("acme", "conv_a", item, {"ttl": 9})]
    stored.sort(key=lambda row: str(row["sk"]), reverse=newest_first)
    assert list(rows.load_items(stored)) == sorted(padded.values(), key=lambda i: i.seq, reverse=newest_first)
    assert all(stored_bytes(row) < 409_600 for row in stored)


def test_a_part_that_is_cut_off_hides_its_item_alone() -> None:
    """An item without all of its rows is not shown in part."""
    whole = Item(id="msg_1", created_at_s=0, content=["a"], seq=1)
    long = Item(id="msg_2", created_at_s=0, content=["b" * rows.PART_BYTES], seq=2)
    stored = [*rows.item_rows("acme", "conv_a", whole, {}), *rows.item_rows("acme", "conv_a", long, {})]
    assert [item.seq for item in rows.load_items(stored[:-1])] == [1]
    assert [item.seq for item in rows.load_items(reversed(stored[:-1]))] == [1]


def test_a_newer_versions_fields_are_passed_over() -> None:
    """While two versions serve side by side, the older reads what the newer wrote."""
    text = json.dumps({"id": "msg_1", "created_at_s": 1, "invented_later": {"x": 1}})
    assert load_item(text, seq=3) == Item(id="msg_1", created_at_s=1, seq=3)


@given(texts, texts, st.sampled_from(["conv_a", "resp_a"]))
def test_no_two_tenants_share_a_partition(one: str, other: str, id: str) -> None:
    """Whatever tenants are called, their partitions differ, and none is the directory of another."""
    mine = {rows.partition(one, id), rows.directory(one)}
    theirs = {rows.partition(other, id), rows.directory(other)}
    assert one == other or not mine & theirs
    assert rows.partition(one, id) != rows.directory(one)


ascii_texts = texts.filter(str.isascii)


@given(st.dictionaries(st.sampled_from("abc"), st.integers() | st.floats(0, 1e12) | ascii_texts))
def test_attributes_survive_dynamodbs_json(row: dict[str, str | int | float]) -> None:
    """Numbers and strings come back as what they were."""
    item = request_of("t", Put(row))["Put"]["Item"]
    assert plain(item) == row
    assert key_of(("p", "s")) == {"pk": {"S": "p"}, "sk": {"S": "s"}}


def test_a_turn_numbers_what_it_writes() -> None:
    """Items and response follow the conversation's last number, and the version goes up by one."""
    held = Conversation(id="conv_a", created_at_s=0, version=3, last_seq=6, usage=Usage(1, 1, 1, 1))
    turn = Turn.of(
        held,
        [Item("msg_1", 0), Item("msg_2", 0)],
        StoredResponse("resp_1", "conv_a", 0, "completed", {}),
        Usage(2, 0, 2, 1),
        now_s=50.7,
    )
    assert [item.seq for item in turn.items] == [7, 8]
    assert turn.response
    assert (turn.response.first_seq, turn.response.last_seq) == (7, 8)
    assert (turn.after.version, turn.after.last_seq, turn.after.updated_at_s) == (4, 8, 50)
    assert turn.after.usage == Usage(3, 1, 3, 2)


def test_a_turn_with_bad_ids_is_a_bug() -> None:
    """Ids that no store would find again, or that are used twice in one turn, never get as far as a store."""
    held = Conversation(id="conv_a", created_at_s=0)
    for ids in (["msg 1"], ["msg_1", "msg_1"], [""]):
        with pytest.raises(ValueError, match="ids"):
            Turn.of(held, [Item(id, 0) for id in ids], now_s=0)


def test_size_is_counted_in_bytes() -> None:
    """Text counts as its UTF-8, not as its characters."""
    held = Conversation(id="conv_a", created_at_s=0)
    Turn.of(held, [Item("msg_1", 0, content=["a" * 3_000_000])], now_s=0)
    with pytest.raises(TooLarge):
        Turn.of(held, [Item("msg_1", 0, content=["字" * 1_200_000])], now_s=0)


CLAIM = Claim("key", "a", "running", "f", until_s=100.0)
WANTED = Claim("key", "b", "mine", "f", until_s=130.0)


@pytest.mark.parametrize(
    ("held", "now_s", "winner"),
    [
        (None, 0.0, WANTED),
        (CLAIM, 99.9, CLAIM),
        (CLAIM, 100.0, WANTED),
        (Claim("key", "b", "running", "f", 100.0), 0.0, WANTED),
        (
            Claim("key", "a", "done", "f", 100.0, "resp_1"),
            500.0,
            Claim("key", "a", "done", "f", 100.0, "resp_1"),
        ),
        (
            Claim("key", "b", "done", "f", 100.0, "resp_1"),
            0.0,
            Claim("key", "b", "done", "f", 100.0, "resp_1"),
        ),
    ],
)
def test_who_has_a_key(held: Claim | None, now_s: float, winner: Claim) -> None:
    """A key is free when nobody has it, its lease is over, or it is ours already; never once settled."""
    assert contend(held, WANTED, now_s) == winner


def test_a_key_of_another_request_is_refused_even_when_free() -> None:
    """A reused key is a mistake of the client's, whatever became of the first request."""
    with pytest.raises(Conflict):
        contend(Claim("key", "a", "running", "other", until_s=0.0), WANTED, 500.0)
