"""Reading the items of a conversation from the session table, and keeping those in use from expiring."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from handler.errors import Unavailable
from handler.sessions import dynamo_rows as rows
from handler.sessions.dynamo_request import Expression, Key, Row, Update
from handler.sessions.dynamo_table import ConditionFailed, DynamoTable
from handler.sessions.values import Item, Order

ROWS_PER_WRITE = 100


@dataclass(frozen=True)
class Stretch:
    """Items of one conversation in the order asked for, and the rows that they came from."""

    items: tuple[Item, ...] = ()
    rows: tuple[Row, ...] = ()


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
) -> Stretch:
    """Read up to `limit` items numbered from `low` to `high`: one query, where they fit a page of 1 MB."""
    if low > high or limit <= 0:
        return Stretch()
    stored = table.query(
        rows.partition(tenant, conversation_id),
        rows.item_sk(low),
        rows.item_sk(high) + rows.LAST,
        newest_first=order == "desc",
        page_rows=limit,
    )
    seen: list[Row] = []

    def live() -> Iterator[Row]:
        for row in stored:
            if rows.is_live(row, now_s):
                seen.append(row)
                yield row

    items = tuple(islice(rows.load_items(live()), limit))
    return Stretch(items, tuple(seen))


def keep(
    table: DynamoTable,
    tenant: str,
    conversation_id: str,
    stretch: Stretch,
    *,
    now_s: float,
    retention_s: float,
) -> None:
    """Give items a fresh retention once half of the last one has gone by.

    A courtesy to the next reader: where somebody deletes at the same time, or the table is busy, it is left
    for another time, and the read stands.
    """
    due_s = now_s + retention_s / 2
    due = {int(row["seq"]) for row in stretch.rows if int(row.get("ttl", 0)) < due_s}
    keys: list[Key] = [(str(row["pk"]), str(row["sk"])) for row in stretch.rows if int(row["seq"]) in due]
    keys += [rows.id_key(tenant, conversation_id, item.id) for item in stretch.items if item.seq in due]
    ttl = rows.expiry(now_s, retention_s)
    with contextlib.suppress(ConditionFailed, Unavailable):
        for start in range(0, len(keys), ROWS_PER_WRITE):
            part = keys[start : start + ROWS_PER_WRITE]
            table.write(*(Update(key, Expression("SET #ttl = :ttl", ttl), rows.present()) for key in part))


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
