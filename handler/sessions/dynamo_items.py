"""Reading the items of a conversation from the session table."""

from __future__ import annotations

from collections.abc import Sequence, Set
from itertools import islice

from handler.errors import Unavailable
from handler.sessions import dynamo_rows as rows
from handler.sessions.dynamo_request import Key
from handler.sessions.dynamo_table import DynamoTable
from handler.sessions.values import MAX_ITEMS_PER_WRITE, Item, Order

TORN_READ_ATTEMPTS = 5


def read(
    table: DynamoTable,
    tenant: str,
    conversation_id: str,
    low: int,
    high: int,
    *,
    order: Order,
    limit: int,
    now_s: float,
) -> tuple[Item, ...]:
    """Read up to `limit` items numbered from `low` to `high`: one query, where they fit a page of 1 MB.

    A Query that runs while a turn commits may see one of its items and not the other; a GetItem may not. So
    where numbers are missing, it is asked whether their rows exist, and if so the query is made again.
    Deleted items leave such gaps for good; they cost one more read. Source:
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html"""
    if low > high or limit <= 0:
        return ()
    partition = rows.partition(tenant, conversation_id)
    for _ in range(TORN_READ_ATTEMPTS):
        found = _query(table, partition, low, high, order=order, limit=limit, now_s=now_s)
        gaps = _gaps({item.seq for item in found}, low, high, order, limit)
        asked = table.get_many([(partition, rows.item_sk(seq)) for seq in gaps]) if gaps else {}
        if not any(rows.is_live(row, now_s) for row in asked.values()):
            return found
    raise Unavailable("The conversation is being written to; its items cannot be read as one right now.")


def _query(
    table: DynamoTable, partition: str, low: int, high: int, *, order: Order, limit: int, now_s: float
) -> tuple[Item, ...]:
    stored = table.query(
        partition,
        rows.item_sk(low),
        rows.item_sk(high) + rows.LAST,
        newest_first=order == "desc",
        page_rows=limit,
    )
    live = (row for row in stored if rows.is_live(row, now_s))
    return tuple(islice(rows.load_items(live), limit))


def _gaps(found: Set[int], low: int, high: int, order: Order, limit: int) -> list[int]:
    """List the numbers that were passed over and may be of the write that is under way: there is but one at a
    time.
    """
    if len(found) == limit:  # the page is full: what lies beyond it was not asked for
        low, high = (low, max(found)) if order == "asc" else (min(found), high)
    return [seq for seq in range(max(low, high - MAX_ITEMS_PER_WRITE + 1), high + 1) if seq not in found]


def number_of(
    table: DynamoTable, tenant: str, conversation_id: str, item_id: str, *, now_s: float
) -> int | None:
    """Find an item's number by its id."""
    row = table.get(rows.id_key(tenant, conversation_id, item_id))
    return int(row["seq"]) if row is not None and rows.is_live(row, now_s) else None


def row_keys(table: DynamoTable, tenant: str, conversation_id: str, seq: int) -> Sequence[Key]:
    """List the rows that an item takes."""
    sk = rows.item_sk(seq)
    found = table.query(rows.partition(tenant, conversation_id), sk, sk + rows.LAST, attributes=("pk", "sk"))
    return [(str(row["pk"]), str(row["sk"])) for row in found]
