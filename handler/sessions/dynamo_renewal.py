"""Keeping the items of a conversation in use from expiring before its head, a bounded number of rows a turn.

Where half a retention has gone by since a round began, or it began under another retention, a turn begins
another. It goes through all that the conversation holds, its own rows and then its ancestors', newest first.
How far it is stands in the head:

    turn          ITEM#42 ────▶ ITEM#17                                               "conv_b ITEM#17"
    next turn                   ITEM#17 ────▶ ITEM#1, ID#… ────▶ conv_a, ITEM#9       "conv_a ITEM#9"
    one more                                                     conv_a, ITEM#9 ────▶ "": over

So each row is written twice a retention, and no turn waits for more than a part of that."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import dropwhile

from handler.errors import Unavailable
from handler.sessions import dynamo_rows as rows
from handler.sessions.dynamo_request import Row, Update, changing
from handler.sessions.dynamo_table import ConditionFailed, DynamoTable
from handler.sessions.records import RETENTION_SLACK
from handler.sessions.values import Conversation, Renewal

ROWS_PER_PAGE = 100
"""A transaction's. Source:
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html"""

PAGES_PER_TURN = 10
"""1,000 rows, 500 items: half a second."""


def begun(conversation: Conversation, now_s: float, retention_s: float | None) -> Conversation:
    """Note of a conversation that is new that all of it is kept from now on; what a fork shows is older."""
    if conversation.version or conversation.lineage:
        return conversation
    return replace(conversation, renewal=Renewal(int(now_s), retention_s or 0))


def renew(
    table: DynamoTable, tenant: str, conversation: Conversation, *, now_s: float, retention_s: float | None
) -> Conversation:
    """Go on with a round, or begin one that is due; see `SessionStore.renew`.

    Where somebody deletes at the same time, or the table is busy, the rest is left for the next turn.
    """
    reached = noted = round_ = conversation.renewal
    slack_s = math.inf if retention_s is None else retention_s * RETENTION_SLACK
    if noted.retention_s != (retention_s or 0) or (not noted.place and now_s >= noted.begun_s + slack_s):
        round_ = Renewal(int(now_s), retention_s or 0)
    elif not noted.place:
        return conversation
    with suppress(ConditionFailed, Unavailable):
        for number, (place, page) in enumerate(_pages(table, tenant, conversation, round_.place), start=1):
            _keep(table, page, round_.begun_s, now_s, retention_s)
            reached = replace(round_, place=place)
            if number == PAGES_PER_TURN:
                break
        else:
            reached = replace(round_, place="")
    with suppress(ConditionFailed, Unavailable):
        if reached != noted:
            facts = rows.renewal_facts(reached)
            table.update(Update(rows.head_key(tenant, conversation.id), changing(facts), rows.live(now_s)))
    return replace(conversation, renewal=reached)


def _pages(
    table: DynamoTable, tenant: str, conversation: Conversation, place: str
) -> Iterator[tuple[str, list[Row]]]:
    """Give the rows of a conversation's history from a place on, a page at a time, and the place after it."""
    begin_id, _, begin_sk = place.partition(" ")
    parts = conversation.segments(conversation.last_seq)
    for part in dropwhile(lambda part: begin_id not in ("", part.conversation_id), parts):
        pages = table.pages(
            rows.partition(tenant, part.conversation_id),
            "ID#",
            begin_sk or rows.item_sk(part.upto_seq) + rows.LAST,
            newest_first=True,
            page_rows=ROWS_PER_PAGE,
            attributes=("pk", "sk", "seq", "ttl"),
        )
        begin_sk = ""
        for page in filter(None, pages):
            own = [row for row in page if part.from_seq <= int(row["seq"]) <= part.upto_seq]
            yield f"{part.conversation_id} {page[-1]['sk']}", own


def _keep(table: DynamoTable, page: list[Row], begun_s: int, now_s: float, retention_s: float | None) -> None:
    change = rows.renewing(rows.long_expiry(now_s, retention_s))
    due = [row for row in page if rows.is_live(row, now_s) and _is_due(row, begun_s, retention_s)]
    if due:
        table.write(*(Update((str(row["pk"]), str(row["sk"])), change, rows.present()) for row in due))


def _is_due(row: Row, begun_s: int, retention_s: float | None) -> bool:
    if retention_s is None:
        return "ttl" in row
    return int(row.get("ttl", 0)) < rows.long_expiry(begun_s, retention_s)["ttl"]
