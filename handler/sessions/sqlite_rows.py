"""The rows of the session file as SQL, and back as values; every function runs inside its caller's
transaction.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

from handler.errors import Conflict
from handler.sessions import records
from handler.sessions.records import Turn
from handler.sessions.values import Conversation, Item, Order, Segment, StoredResponse, Usage, is_id

TABLES = ("conversations", "items", "responses", "claims", "counters", "cancellations")
_SWEPT_ROWS_PER_WRITE = 20


def head(db: sqlite3.Connection, tenant: str, conversation_id: str, now_s: float) -> Conversation | None:
    """Read a conversation's head."""
    if not is_id(conversation_id):
        return None
    row = db.execute(
        "SELECT * FROM conversations WHERE tenant = ? AND id = ? AND expires_at_s > ?",
        (tenant, conversation_id, now_s),
    ).fetchone()
    return row and _conversation(row)


def heads(
    db: sqlite3.Connection,
    tenant: str,
    now_s: float,
    *,
    after: Conversation | None,
    order: Order,
    limit: int,
    hidden: bool,
) -> list[Conversation]:
    """Read the heads that are hidden, or not, by creation time and then id."""
    direction, beyond = _ordering(order)
    where = "" if after is None else f"AND (created_at_s, id) {beyond} (?, ?)"
    start: Sequence[Any] = () if after is None else (after.created_at_s, after.id)
    found = db.execute(
        f"SELECT * FROM conversations WHERE tenant = ? AND hidden = ? AND expires_at_s > ? {where} "
        f"ORDER BY created_at_s {direction}, id {direction} LIMIT ?",
        (tenant, hidden, now_s, *start, limit),
    )
    return [_conversation(row) for row in found]


def put_head(db: sqlite3.Connection, tenant: str, conversation: Conversation, expires_at_s: float) -> None:
    """Store a head, new or not."""
    c = conversation
    texts = (records.dump_lineage(c.lineage), records.dump_json(c.metadata), records.dump_json(c.title))
    state = (c.version, c.last_seq, c.updated_at_s, *astuple(c.usage))
    db.execute(
        "REPLACE INTO conversations (tenant, id, created_at_s, hidden, lineage, metadata, title, "
        "version, last_seq, updated_at_s, "
        "input_tokens, cached_tokens, output_tokens, requests, expires_at_s) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (tenant, c.id, c.created_at_s, c.hidden, *texts, *state, expires_at_s),
    )


def change_head(db: sqlite3.Connection, tenant: str, conversation: Conversation) -> None:
    """Change what a turn does not bring; the expiry stays."""
    c = conversation
    db.execute(
        "UPDATE conversations SET metadata = ?, title = ?, version = ? WHERE tenant = ? AND id = ?",
        (records.dump_json(c.metadata), records.dump_json(c.title), c.version, tenant, c.id),
    )


def items(
    db: sqlite3.Connection,
    tenant: str,
    conversation_id: str,
    now_s: float,
    *,
    after_seq: int | None,
    order: Order,
    limit: int,
) -> list[Item]:
    """Read a conversation's own items on one side of a number. The `+` leaves the search to their order."""
    direction, beyond = _ordering(order)
    where = "" if after_seq is None else f"AND seq {beyond} ?"
    start = () if after_seq is None else (after_seq,)
    found = db.execute(
        f"SELECT seq, doc FROM items WHERE tenant = ? AND conversation_id = ? AND +expires_at_s > ? {where} "
        f"ORDER BY seq {direction} LIMIT ?",
        (tenant, conversation_id, now_s, *start, limit),
    )
    return [records.load_item(row["doc"], seq=row["seq"]) for row in found]


def item(
    db: sqlite3.Connection, tenant: str, conversation_id: str, item_id: str, now_s: float
) -> Item | None:
    """Read one item."""
    if not is_id(item_id):
        return None
    row = db.execute(
        "SELECT seq, doc FROM items WHERE tenant = ? AND conversation_id = ? AND id = ? AND expires_at_s > ?",
        (tenant, conversation_id, item_id, now_s),
    ).fetchone()
    return row and records.load_item(row["doc"], seq=row["seq"])


def first_expiry_s(db: sqlite3.Connection, tenant: str, part: Segment, now_s: float) -> float:
    """Tell when the first of some items expires. The `+` leaves the search to the index by expiry."""
    row = db.execute(
        "SELECT MIN(expires_at_s) FROM items "
        "WHERE tenant = ? AND conversation_id = ? AND expires_at_s > ? AND +seq BETWEEN ? AND ?",
        (tenant, part.conversation_id, now_s, part.from_seq, part.upto_seq),
    ).fetchone()
    return math.inf if row[0] is None else float(row[0])


def keep_items(db: sqlite3.Connection, tenant: str, part: Segment, now_s: float, expires_at_s: float) -> None:
    """Give some items a new expiry."""
    db.execute(
        "UPDATE items SET expires_at_s = ? "
        "WHERE tenant = ? AND conversation_id = ? AND seq BETWEEN ? AND ? AND expires_at_s > ?",
        (expires_at_s, tenant, part.conversation_id, part.from_seq, part.upto_seq, now_s),
    )


def delete_item(db: sqlite3.Connection, tenant: str, conversation_id: str, seq: int) -> None:
    """Delete one item."""
    db.execute(
        "DELETE FROM items WHERE tenant = ? AND conversation_id = ? AND seq = ?",
        (tenant, conversation_id, seq),
    )


def delete_conversation(db: sqlite3.Connection, tenant: str, conversation_id: str) -> None:
    """Delete a head, its items and its responses."""
    db.execute("DELETE FROM conversations WHERE tenant = ? AND id = ?", (tenant, conversation_id))
    for table in ("items", "responses"):
        db.execute(f"DELETE FROM {table} WHERE tenant = ? AND conversation_id = ?", (tenant, conversation_id))


def response(db: sqlite3.Connection, tenant: str, response_id: str, now_s: float) -> StoredResponse | None:
    """Read a response."""
    if not is_id(response_id):
        return None
    row = db.execute(
        "SELECT * FROM responses WHERE tenant = ? AND id = ? AND expires_at_s > ?",
        (tenant, response_id, now_s),
    ).fetchone()
    return row and records.load_response(row["doc"], first_seq=row["first_seq"], last_seq=row["last_seq"])


def put_response(db: sqlite3.Connection, tenant: str, response: StoredResponse, expires_at_s: float) -> None:
    """Store a response, new or not."""
    numbers = (response.first_seq, response.last_seq)
    db.execute(
        "REPLACE INTO responses (tenant, id, conversation_id, first_seq, last_seq, doc, expires_at_s) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            tenant,
            response.id,
            response.conversation_id,
            *numbers,
            records.dump_response(response),
            expires_at_s,
        ),
    )


def delete_response(db: sqlite3.Connection, tenant: str, response_id: str) -> None:
    """Delete a response."""
    db.execute("DELETE FROM responses WHERE tenant = ? AND id = ?", (tenant, response_id))


def response_ids(db: sqlite3.Connection, tenant: str, conversation_id: str) -> list[str]:
    """List the responses of a conversation."""
    found = db.execute(
        "SELECT id FROM responses WHERE tenant = ? AND conversation_id = ?", (tenant, conversation_id)
    )
    return [row["id"] for row in found]


def redact(db: sqlite3.Connection, tenant: str, conversation_id: str, value: Item | StoredResponse) -> None:
    """Give an item or a response less to say; the expiry stays."""
    if isinstance(value, Item):
        table, doc = "items", records.dump_item(value)
    else:
        table, doc = "responses", records.dump_response(value)
    db.execute(
        f"UPDATE {table} SET doc = ? WHERE tenant = ? AND conversation_id = ? AND id = ?",
        (doc, tenant, conversation_id, value.id),
    )


def insert_turn(
    db: sqlite3.Connection,
    tenant: str,
    turn: Turn,
    now_s: float,
    *,
    items_expire_at_s: float,
    response_expires_at_s: float,
) -> None:
    """Store a turn's items and response. Raises: Conflict where an id is taken."""
    if turn.before.version == 0:  # an expired conversation may have left rows under this id
        db.execute("DELETE FROM items WHERE tenant = ? AND conversation_id = ?", (tenant, turn.after.id))
    for new in turn.items:
        if item(db, tenant, turn.after.id, new.id, now_s):
            raise Conflict(f"The item {new.id!r} exists already.", param="items")
        db.execute(
            "REPLACE INTO items (tenant, conversation_id, seq, id, doc, expires_at_s) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (tenant, turn.after.id, new.seq, new.id, records.dump_item(new), items_expire_at_s),
        )
    if turn.response:
        if response(db, tenant, turn.response.id, now_s):
            raise Conflict(f"The response {turn.response.id!r} exists already.")
        put_response(db, tenant, turn.response, response_expires_at_s)


def put_in_place(
    db: sqlite3.Connection,
    tenant: str,
    turn: Turn,
    now_s: float,
    *,
    items_expire_at_s: float,
    response_expires_at_s: float,
) -> None:
    """Give a turn's item and response their new contents. Raises: NotFound where one of them is gone."""
    for new in turn.items:
        if item(db, tenant, turn.after.id, new.id, now_s) is None:
            raise records.absent("item", new.id)
        db.execute(
            "UPDATE items SET doc = ?, expires_at_s = ? WHERE tenant = ? AND conversation_id = ? AND seq = ?",
            (records.dump_item(new), items_expire_at_s, tenant, turn.after.id, new.seq),
        )
    if turn.response:
        if response(db, tenant, turn.response.id, now_s) is None:
            raise records.absent("response", turn.response.id)
        put_response(db, tenant, turn.response, response_expires_at_s)


def holds(db: sqlite3.Connection, tenant: str, turn: Turn, now_s: float) -> bool:
    """Tell whether this very turn has been written before: by its new ids, or by what it would have put in
    place.
    """
    if turn.in_place and turn.response:
        return response(db, tenant, turn.response.id, now_s) == turn.response
    if turn.items:
        stored = item(db, tenant, turn.after.id, turn.items[0].id, now_s)
        return stored is not None and stored.seq == turn.items[0].seq
    return turn.response is not None and response(db, tenant, turn.response.id, now_s) is not None


def put_cancellation(db: sqlite3.Connection, tenant: str, response_id: str, expires_at_s: float) -> None:
    """Note that a response is to end."""
    db.execute(
        "REPLACE INTO cancellations (tenant, id, expires_at_s) VALUES (?, ?, ?)",
        (tenant, response_id, expires_at_s),
    )


def is_cancelled(db: sqlite3.Connection, tenant: str, response_id: str, now_s: float) -> bool:
    """Tell whether a response is to end."""
    found = db.execute(
        "SELECT 1 FROM cancellations WHERE tenant = ? AND id = ? AND expires_at_s > ?",
        (tenant, response_id, now_s),
    )
    return found.fetchone() is not None


def usage(db: sqlite3.Connection, tenant: str, period: str, now_s: float) -> Usage:
    """Read a tenant's counters."""
    row = db.execute(
        "SELECT * FROM counters WHERE tenant = ? AND period = ? AND expires_at_s > ?",
        (tenant, period, now_s),
    ).fetchone()
    return Usage() if row is None else _usage(row)


def put_usage(db: sqlite3.Connection, tenant: str, period: str, usage: Usage, expires_at_s: float) -> None:
    """Store a tenant's counters."""
    db.execute(
        "REPLACE INTO counters "
        "(tenant, period, input_tokens, cached_tokens, output_tokens, requests, expires_at_s) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (tenant, period, *astuple(usage), expires_at_s),
    )


def erase(db: sqlite3.Connection, tenant: str, counted_period: str | None) -> None:
    """Delete every row of a tenant, all but its counters of one period."""
    for table in TABLES:
        if table != "counters":
            db.execute(f"DELETE FROM {table} WHERE tenant = ?", (tenant,))
    db.execute("DELETE FROM counters WHERE tenant = ? AND period IS NOT ?", (tenant, counted_period))


def sweep(db: sqlite3.Connection, now_s: float) -> None:
    """Delete a few expired rows: work that does not grow with the file."""
    for table in TABLES:
        db.execute(
            f"DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} WHERE expires_at_s <= ? LIMIT ?)",
            (now_s, _SWEPT_ROWS_PER_WRITE),
        )


def _ordering(order: Order) -> tuple[str, str]:
    return ("ASC", ">") if order == "asc" else ("DESC", "<")


def _conversation(row: sqlite3.Row) -> Conversation:
    return Conversation(
        id=row["id"],
        created_at_s=row["created_at_s"],
        metadata=json.loads(row["metadata"]),
        title=json.loads(row["title"]),
        hidden=bool(row["hidden"]),
        lineage=records.load_lineage(row["lineage"]),
        version=row["version"],
        last_seq=row["last_seq"],
        usage=_usage(row),
        updated_at_s=row["updated_at_s"],
    )


def _usage(row: sqlite3.Row) -> Usage:
    return Usage(row["input_tokens"], row["cached_tokens"], row["output_tokens"], row["requests"])
