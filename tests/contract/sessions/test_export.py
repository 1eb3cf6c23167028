"""A conversation can be taken out whole, whatever its length, and put in again; no page is too long."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from handler.sessions import SessionStore
from tests.contract.sessions.conftest import RETENTION_S
from tests.contract.sessions.stores import HandClock
from tests.contract.sessions.turns import NOW_S, TENANT, conversation, grow, message
from tests.unit.handler.conftest import Door
from tests.unit.handler.scripted_engine import MODEL

BUFFERED_BYTES = 6 * 1024 * 1024  # what Lambda lets out in one piece


def export(door: Door, id: str, tenant: str = TENANT, limit: int | None = None) -> Iterator[Any]:
    """Give the pages of an export."""
    after, more = 0, True
    while more:
        query = f"after={after}" + (f"&limit={limit}" if limit else "")
        page = read(door, f"/v1/conversations/{id}/export?{query}", tenant)
        yield page
        after, more = page["last_seq"], page["has_more"]


def listed(door: Door, place: str) -> Iterator[Any]:
    """Give the pages of a list, oldest first and as long as may be asked for."""
    after, more = "", True
    while more:
        page = read(door, f"{place}?order=asc&limit=100{after}", TENANT)
        yield page
        after, more = f"&after={page['last_id']}", page["has_more"]


def read(door: Door, path: str, tenant: str) -> Any:
    """Give a page that Lambda lets out."""
    answer = door.call("GET", path, tenant=tenant)
    assert answer.status == 200, answer.body
    whole = {"statusCode": 200, "headers": answer.headers, "body": answer.body, "isBase64Encoded": False}
    assert len(json.dumps(whole, ensure_ascii=False).encode()) < BUFFERED_BYTES
    return answer.json


def test_an_export_is_put_in_again(door: Door) -> None:
    """What another tenant makes of it by OpenAI's own calls says the same, item by item."""
    id = door.call("POST", "/v1/conversations", {"metadata": {"topic": "睡鼠"}}, tenant=TENANT).json["id"]
    for said in ("Hello, 你好", 'a "quote"\n\u2028', "Fine"):
        body = {"model": MODEL, "input": said, "conversation": id}
        assert door.call("POST", "/v1/responses", body, tenant=TENANT).status == 200
    pages = list(export(door, id, limit=4))
    assert [len(page["data"]) for page in pages] == [4, 2]
    items = [entry["item"] for page in pages for entry in page["data"]]
    head = pages[0]["conversation"]
    body = {"metadata": head["metadata"], "items": items}
    copy = door.call("POST", "/v1/conversations", body, tenant="globex").json
    assert copy["metadata"] == {"topic": "睡鼠"}
    assert copy["dormouse"]["title"] == head["dormouse"]["title"]
    again = [entry["item"] for page in export(door, copy["id"], "globex") for entry in page["data"]]
    assert [(item["role"], item["content"]) for item in again] == [
        (item["role"], item["content"]) for item in items
    ]


def test_an_export_leaves_nothing_out(door: Door, store: SessionStore) -> None:
    """All facts of every item and response are in it, and the conversation's totals."""
    id = door.call("POST", "/v1/conversations", {}, tenant=TENANT).json["id"]
    body = {"model": MODEL, "input": "Hi", "conversation": id, "max_output_tokens": 3, "seed": 7}
    made = door.call("POST", "/v1/responses", {**body, "instructions": "Be brief."}, tenant=TENANT).json
    (page,) = export(door, id)
    question, answer = page["data"]
    stored = store.item(TENANT, id, made["output"][0]["id"])
    assert answer["item"] == made["output"][0]
    assert answer["item"]["status"] == "incomplete"
    assert (answer["seq"], answer["created_at"], answer["response_id"]) == (2, NOW_S, made["id"])
    assert (tuple(answer["token_ids"]), answer["sampling"]) == (stored.token_ids, stored.sampling)
    assert answer["sampling"]["seed"] == 7
    assert question["item"]["content"] == [{"type": "input_text", "text": "Hi"}]
    (response,) = page["responses"]
    assert response["response"] == made
    assert response["state"] == store.response(TENANT, made["id"]).state
    facts = page["conversation"]["dormouse"]
    assert facts["output_tokens"] == made["usage"]["output_tokens"] == 3
    assert (facts["title"], page["incomplete"]) == ("Hi", False)


@pytest.mark.parametrize("place", ["sqlite", "dynamodb"], indirect=True)
@pytest.mark.parametrize("how", ["turns", "items"])
def test_a_conversation_in_daily_use_loses_nothing(
    door: Door, store: SessionStore, clock: HandClock, how: str
) -> None:
    """What no window reaches any more is there as long as the rest, by whatever call one adds to it."""
    held = store.create(TENANT, conversation("conv_a"))
    while held.last_seq < 160:  # a window holds 128
        held = store.append(TENANT, held, [message(f"msg_{held.last_seq + n}") for n in range(40)])
    turn = {"model": MODEL, "input": "Hi", "conversation": "conv_a", "truncation": "auto"}
    said = {"items": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
    paths = {"turns": ("/v1/responses", turn), "items": ("/v1/conversations/conv_a/items", said)}
    for _ in range(5):
        clock.now_s += RETENTION_S * 0.7
        answer = door.call("POST", *paths[how], tenant=TENANT)
        assert answer.status == 200, answer.body
    clock.now_s += RETENTION_S - 1
    pages = list(export(door, "conv_a"))
    assert [entry["seq"] for page in pages for entry in page["data"]] == list(range(1, 171))
    assert not any(page["incomplete"] for page in pages)


def test_a_thread_is_exported_with_what_it_branched_from(door: Door) -> None:
    """Threads of responses are listed as hidden; a branch shows its ancestors' items, as to the model."""
    first = door.call("POST", "/v1/responses", {"model": MODEL, "input": "One"}, tenant=TENANT).json
    onward = {"model": MODEL, "previous_response_id": first["id"]}
    for said in ("Two", "Three"):
        assert door.call("POST", "/v1/responses", {**onward, "input": said}, tenant=TENANT).status == 200
    assert door.call("GET", "/v1/conversations", tenant=TENANT).json["data"] == []
    hidden = door.call("GET", "/v1/conversations?hidden=true", tenant=TENANT).json["data"]
    exported = [page["data"] for each in hidden for page in export(door, each["id"])]
    asked = sorted([entry["item"]["content"][0]["text"] for entry in data[::2]] for data in exported)
    assert asked == [["One", "Three"], ["One", "Two"]]


def test_a_deep_fork_is_exported_in_order(door: Door, store: SessionStore) -> None:
    """Pages that end within ancestors join to one row of numbers."""
    root = grow(store, store.create(TENANT, conversation("conv_a")), turns=30)
    child = grow(store, root.fork("conv_b", at_seq=50, created_at_s=NOW_S), turns=3)
    grow(store, child.fork("conv_c", at_seq=52, created_at_s=NOW_S), turns=1)
    pages = list(export(door, "conv_c", limit=7))
    assert [entry["seq"] for page in pages for entry in page["data"]] == list(range(1, 55))
    store.delete(TENANT, "conv_a")
    pages = list(export(door, "conv_c"))
    assert [entry["seq"] for page in pages for entry in page["data"]] == [51, 52, 53, 54]
    assert any(page["incomplete"] for page in pages)


def test_a_conversation_with_gaps_is_exported(door: Door, store: SessionStore) -> None:
    """Deleted items are passed over, wherever they are, the last one included."""
    grow(store, store.create(TENANT, conversation("conv_a")), turns=25)
    gone = [*range(1, 22), 30, 49, 50]
    for seq in gone:
        store.delete_item(TENANT, "conv_a", f"msg_conv_a_{seq}")
    for limit in (1, 6, 100):
        pages = list(export(door, "conv_a", limit=limit))
        found = [entry["seq"] for page in pages for entry in page["data"]]
        assert found == [seq for seq in range(1, 51) if seq not in gone]


@pytest.mark.parametrize("text", ["x", '"', "字", "\\"])
def test_long_items_make_short_pages(door: Door, text: str) -> None:
    """Content above DynamoDB's 400 KB comes in and out whole, and no page is too long for Lambda."""
    long = (text * 1_000_000)[: 1_000_000 // len(json.dumps(text, ensure_ascii=False).encode()[1:-1])]
    id = door.call("POST", "/v1/conversations", {}, tenant=TENANT).json["id"]
    place = f"/v1/conversations/{id}/items"
    for number in range(6):
        said = {"items": [{"role": "user", "content": long + str(number)}]}
        added = door.application.api.answer(_event(place, said), None)
        assert isinstance(added, dict)
        assert added["statusCode"] == 200, added["body"][:300]
    pages = list(export(door, id))
    texts = [entry["item"]["content"][0]["text"] for page in pages for entry in page["data"]]
    assert texts == [long + str(number) for number in range(6)]
    lists = list(listed(door, place))
    assert len(lists) > 1
    assert [item["content"][0]["text"] for page in lists for item in page["data"]] == texts
    item = pages[-1]["data"][-1]["item"]
    assert door.call("GET", f"{place}/{item['id']}", tenant=TENANT).json == item


def test_long_metadata_makes_short_pages(door: Door, store: SessionStore) -> None:
    """A page of conversations ends before it is too long for Lambda, and the next one goes on."""
    metadata = {f"{n:064}": "\x01" * 512 for n in range(16)}
    ids = [f"conv_{n:03}" for n in range(100)]
    for id in ids:
        store.create(TENANT, conversation(id, metadata=metadata))
    pages = list(listed(door, "/v1/conversations"))
    assert len(pages) > 1
    assert [each["id"] for page in pages for each in page["data"]] == ids


def _event(path: str, body: Any) -> dict[str, Any]:
    """A POST whose body is UTF-8, as clients send it, not escaped."""
    return {
        "httpMethod": "POST",
        "path": path,
        "requestContext": {"authorizer": {"tenant": TENANT}},
        "body": json.dumps(body, ensure_ascii=False),
    }


def test_an_export_ends(door: Door, store: SessionStore) -> None:
    """An empty conversation is one empty page; beyond the end there is nothing more."""
    store.create(TENANT, conversation("conv_a"), [message("msg_1")])
    store.create(TENANT, conversation("conv_b"))
    (page,) = export(door, "conv_b")
    assert (page["data"], page["has_more"], page["last_seq"]) == ([], False, 0)
    answer = door.call("GET", "/v1/conversations/conv_a/export?after=9", tenant=TENANT)
    assert (answer.json["data"], answer.json["has_more"], answer.json["last_seq"]) == ([], False, 1)
    wrong = door.call("GET", "/v1/conversations/conv_a/export?after=-1", tenant=TENANT)
    assert (wrong.status, wrong.json["error"]["param"]) == (400, "after")
