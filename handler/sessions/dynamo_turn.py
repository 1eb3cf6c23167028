"""A turn as one DynamoDB transaction: its actions, and what it means when one of them is refused.

    writer A                         table                          writer B
    get HEAD             ─────────▶  version 7
                                     version 7  ◀─────────────────  get HEAD
    (generates)                                                     (generates)
    transaction if 7     ─────────▶  version 8, items 15 16
    acknowledged         ◀─────────
                                     version 8  ◀─────────────────  transaction if 7
                                     refused    ─────────────────▶  reads HEAD: 8, and its own
                                                                    item id is not there: VersionConflict

The same refusal meets a writer whose first attempt was carried out and whose acknowledgement was lost; it
finds its own item's id, at the number that it gave it, and knows that it was done. Ids are new for every
turn, so nobody else can have written it. An answer that went on in its place has no new id: there it is the
stored response that tells, which holds the times that its writer measured."""

from __future__ import annotations

import math
from collections.abc import Mapping

from handler.errors import Conflict, RequestError, Unavailable
from handler.sessions import dynamo_claims as claims
from handler.sessions import dynamo_rows as rows
from handler.sessions.dynamo_request import Action, Put, Update
from handler.sessions.dynamo_table import ConditionFailed, DynamoTable
from handler.sessions.records import RETENTION_SLACK, Turn, absent
from handler.sessions.values import Claim, Conversation


def write_turn(
    table: DynamoTable,
    tenant: str,
    turn: Turn,
    claim: Claim | None,
    *,
    now_s: float,
    retention_s: float | None,
) -> Conversation:
    """Carry out a turn; see `SessionStore.append`."""
    first = [_head_action(tenant, turn, now_s, rows.expiry(now_s, retention_s))]
    if claim is not None:
        first.append(claims.settled(tenant, claim, now_s))
    actions = [
        *first,
        *_item_actions(tenant, turn, now_s, retention_s),
        *_listing_actions(tenant, turn, now_s, retention_s),
    ]
    try:
        table.write(*actions)
    except ConditionFailed as refused:
        stored = _head(table, tenant, turn, now_s)
        if stored and _is_done(table, tenant, turn, now_s):
            return stored
        raise _refusal(turn, stored, refused, has_claim=claim is not None) from None
    except Unavailable:
        # It may have been carried out all the same: timeouts and 5xx say nothing about that.
        if _is_done(table, tenant, turn, now_s) and (stored := _head(table, tenant, turn, now_s)):
            return stored
        raise
    return turn.after


def _head_action(tenant: str, turn: Turn, now_s: float, ttl: Mapping[str, int]) -> Action:
    if turn.before.version == 0:
        return Put(rows.head_row(tenant, turn.after, ttl), rows.vacant(now_s))
    changes = {
        "version": turn.after.version,
        "last_seq": turn.after.last_seq,
        "updated_at_s": turn.after.updated_at_s,
    }
    counted = {name: getattr(turn.usage, name) for name in rows.COUNTERS}
    return Update(
        rows.head_key(tenant, turn.after.id),
        rows.renewing(ttl, changes, counted),
        rows.at_version(turn.before.version, now_s),
    )


def _item_actions(tenant: str, turn: Turn, now_s: float, retention_s: float | None) -> list[Action]:
    """Put items, ids and response. Only ids need a condition: the version guards the numbers."""
    ttl = rows.long_expiry(now_s, retention_s)
    there = rows.live(now_s) if turn.in_place else rows.vacant(now_s)
    actions: list[Action] = []
    for item in turn.items:
        actions += map(Put, rows.item_rows(tenant, turn.after.id, item, ttl))
        id_row = rows.bare(rows.id_key(tenant, turn.after.id, item.id), ttl, seq=item.seq)
        actions.append(Put(id_row, there))
    if turn.response:
        ttl = rows.expiry(now_s, retention_s)
        first, *more = rows.response_rows(tenant, turn.response, ttl)
        mark = rows.bare(rows.response_mark_key(tenant, turn.response), ttl, id=turn.response.id)
        actions += [Put(first, there), *map(Put, more), Put(mark)]
    return actions


def _listing_actions(tenant: str, turn: Turn, now_s: float, retention_s: float | None) -> list[Action]:
    """Put the directory entry: of a new conversation, and again each time half of its slack has gone by or a
    round of renewal has begun, perhaps under another retention.
    """
    before = turn.before
    period_s = math.inf if retention_s is None else max(1.0, retention_s * RETENTION_SLACK / 2)
    is_recent = math.floor(now_s / period_s) == math.floor(before.updated_at_s / period_s)
    if before.version and is_recent and before.renewal.begun_s <= before.updated_at_s:
        return []
    ttl = rows.long_expiry(now_s, retention_s)
    return [Put(rows.bare(rows.listing_key(tenant, turn.after), ttl, id=turn.after.id))]


def _head(table: DynamoTable, tenant: str, turn: Turn, now_s: float) -> Conversation | None:
    row = table.get(rows.head_key(tenant, turn.after.id))
    return rows.load_head(row) if row is not None and rows.is_live(row, now_s) else None


def _is_done(table: DynamoTable, tenant: str, turn: Turn, now_s: float) -> bool:
    """Tell whether this very turn has been written before: by its new ids, or by what it would have put in
    place.
    """
    if turn.in_place and turn.response:
        pk, sk = rows.response_key(tenant, turn.response.id)
        found = [row for row in table.query(pk, sk, sk + rows.LAST) if rows.is_live(row, now_s)]
        return bool(found) and rows.load_response(found) == turn.response
    if turn.items:
        row = table.get(rows.id_key(tenant, turn.after.id, turn.items[0].id))
        return row is not None and rows.is_live(row, now_s) and row["seq"] == turn.items[0].seq
    if turn.response:
        return rows.is_live(table.get(rows.response_key(tenant, turn.response.id)), now_s)
    return False


def _refusal(
    turn: Turn, stored: Conversation | None, refused: ConditionFailed, *, has_claim: bool
) -> RequestError:
    if 0 in refused.failed:
        return turn.refusal(stored)
    if turn.in_place:
        return absent("response", turn.response.id if turn.response else "")
    if has_claim and 1 in refused.failed:
        return Conflict("Another request with this idempotency key has taken over.")
    return Conflict("An item or a response with such an id exists already.", param="items")
