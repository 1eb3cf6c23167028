"""Reading responses from the session table: one by its id, or all of a conversation."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from handler.sessions import dynamo_rows as rows
from handler.sessions.dynamo_table import BATCH_READ_ROWS, DynamoTable
from handler.sessions.values import StoredResponse, is_id


def read(table: DynamoTable, tenant: str, response_id: str, now_s: float) -> StoredResponse | None:
    """Read a response."""
    if not is_id(response_id):
        return None
    pk, sk = rows.response_key(tenant, response_id)
    found = [row for row in table.query(pk, sk, sk + rows.LAST) if rows.is_live(row, now_s)]
    if not found or found[0]["sk"] != sk:  # a conversation's partition has marks of responses alone
        return None
    return rows.load_response(found)


def made_in(table: DynamoTable, tenant: str, conversation_id: str, now_s: float) -> Iterator[StoredResponse]:
    """Read the responses of a conversation: by the batch, and those of several rows by themselves."""
    partition = rows.partition(tenant, conversation_id)
    marks = table.query(partition, "RESPONSE#", "RESPONSE#" + rows.LAST, attributes=("id",))
    while ids := [str(mark["id"]) for mark in islice(marks, BATCH_READ_ROWS)]:
        keys = {rows.response_key(tenant, id): id for id in ids}
        for key, row in table.get_many(list(keys)).items():
            is_whole = row["parts"] == 1 and rows.is_live(row, now_s)
            found = rows.load_response([row]) if is_whole else read(table, tenant, keys[key], now_s)
            if found is not None:
                yield found
