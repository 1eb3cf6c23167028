"""Deleting many rows of the session table, in an order that a crash anywhere leaves well.

A conversation goes in one transaction: head and directory entry out, a SWEEP row in. From then on nobody can
read or append; its items are removed at leisure, the SWEEP row last. Who finds a SWEEP row can finish the
work."""

from __future__ import annotations

from collections.abc import Callable

from handler.errors import Unavailable, VersionConflict
from handler.sessions import dynamo_rows as rows
from handler.sessions.dynamo_request import ConditionCheck, Delete, Key, Put, Row
from handler.sessions.dynamo_table import BATCH_WRITE_ROWS, ConditionFailed, DynamoTable
from handler.sessions.records import absent
from handler.sessions.values import Conversation, Item, StoredResponse


def delete_conversation(
    table: DynamoTable, tenant: str, conversation: Conversation, if_version: int | None
) -> None:
    """Delete a conversation that was found. Raises: NotFound where somebody was faster; VersionConflict."""
    condition = rows.present() if if_version is None else rows.unmoved(if_version)
    sweep_row = rows.bare(rows.sweep_key(tenant, conversation.id), {})
    try:
        table.write(
            Delete(rows.head_key(tenant, conversation.id), condition),
            Delete(rows.listing_key(tenant, conversation)),
            Put(sweep_row),
        )
    except ConditionFailed:
        row = table.get(rows.head_key(tenant, conversation.id))
        if row is not None and if_version is not None:
            raise VersionConflict(if_version, rows.load_head(row).version) from None
        raise absent("conversation", conversation.id) from None
    sweep(table, tenant, conversation.id)


def delete_response(table: DynamoTable, tenant: str, response: StoredResponse) -> None:
    """Delete a response that was found, all its rows in one: none is left that nothing leads to.

    Raises: NotFound where somebody was faster.
    """
    first = rows.response_key(tenant, response.id)
    found = table.query(first[0], first[1], first[1] + rows.LAST, attributes=("pk", "sk"))
    more = [key for key in map(_key, found) if key != first]
    mark = rows.response_mark_key(tenant, response)
    try:
        table.write(Delete(first, rows.present()), Delete(mark), *map(Delete, more))
    except ConditionFailed:
        raise absent("response", response.id) from None


def redact(
    table: DynamoTable, tenant: str, conversation: Conversation, value: Item | StoredResponse, now_s: float
) -> None:
    """Write less into an item's or a response's rows, and remove those that it needs no more.

    Raises: ConditionFailed where the conversation is at another version, or the rows are gone.
    """
    if isinstance(value, Item):
        first, *more = rows.item_rows(tenant, conversation.id, value, {})
    else:
        first, *more = rows.response_rows(tenant, value, {})
    pk, sk = _key(first)
    stored = {_key(row): row for row in table.query(pk, sk, sk + rows.LAST, attributes=("pk", "sk", "ttl"))}
    table.write(
        ConditionCheck(rows.head_key(tenant, conversation.id), rows.at_version(conversation.version, now_s)),
        Put({**stored.get(_key(first), {}), **first}, rows.present()),
        *(Put({**stored.get(_key(row), {}), **row}) for row in more),
        *map(Delete, stored.keys() - set(map(_key, [first, *more]))),
    )


def resume(table: DynamoTable, tenant: str, conversation_id: str) -> None:
    """Finish the deletion of a conversation that has no head any more. Raises: NotFound where none is due."""
    if table.get(rows.sweep_key(tenant, conversation_id)) is None:
        raise absent("conversation", conversation_id)
    sweep(table, tenant, conversation_id)


def sweep(table: DynamoTable, tenant: str, conversation_id: str) -> None:
    """Remove what a deleted conversation has left: responses, items, then the note that this is due."""
    partition = rows.partition(tenant, conversation_id)
    for row in table.query(partition, "RESPONSE#", "RESPONSE#" + rows.LAST, attributes=("pk", "sk", "id")):
        delete_partition(table, rows.partition(tenant, str(row["id"])))
    delete_partition(table, partition)
    table.delete([rows.sweep_key(tenant, conversation_id)])


def delete_partition(table: DynamoTable, partition: str) -> None:
    """Remove every row of a partition."""
    table.delete([_key(row) for row in table.query(partition, "!", rows.LAST, attributes=("pk", "sk"))])


def erase(
    table: DynamoTable, tenant: str, counted_period: str | None, should_stop: Callable[[], bool] | None
) -> None:
    """Remove everything of a tenant, all but the counters of one period: its conversations one by one, each
    entry of its directory last.

    A fork keeps its ancestors' items from expiring after their own heads and entries have: they go with it.
    """

    def look() -> None:
        if should_stop is not None and should_stop():
            raise Unavailable("There is more to erase; send the same request again.", code="unfinished")

    directory, others = rows.directory(tenant), list[Key]()
    for row in table.query(directory, "!", rows.LAST, attributes=("pk", "sk")):
        kind, _, rest = str(row["sk"]).partition("#")
        if kind in ("CONV", "HIDDEN", "SWEEP"):
            look()
            conversation_id = rest.rpartition("#")[2]
            head = table.get(rows.head_key(tenant, conversation_id))
            for ancestor in rows.load_head(head).lineage if head else ():
                sweep(table, tenant, ancestor.conversation_id)
            table.delete([rows.head_key(tenant, conversation_id)])
            sweep(table, tenant, conversation_id)
            table.delete([_key(row)])
            continue
        if (kind, rest) == ("USAGE", counted_period):
            continue
        others.append(_key(row))  # claims and counts, of which there may be thousands
        if len(others) == BATCH_WRITE_ROWS:
            look()
            table.delete(others)
            others.clear()
    table.delete(others)


def _key(row: Row) -> Key:
    return str(row["pk"]), str(row["sk"])
