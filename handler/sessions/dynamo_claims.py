"""Claims on idempotency keys in the session table: taken before the work, settled with the turn.

    client        first try                              retry with the same key
      │  ──▶ claim: put if absent            ✔ mine
      │      (generates)                                 claim: held, until 12:00:30   → running
      │      transaction: turn + settle      ✔
      ✗  ◀── the answer is lost
      │  ───────────────────────────────────────────▶    claim: settled, resp_1        → done: resp_1

A writer that dies leaves a claim that runs out; who takes it then puts its own owner there, so that the
transaction of the first, should it wake again, is refused.
"""

from __future__ import annotations

from collections.abc import Callable

from handler.sessions import dynamo_rows as rows
from handler.sessions.dynamo_request import Delete, Expression, Put
from handler.sessions.dynamo_table import ConditionFailed, DynamoTable
from handler.sessions.records import CLAIM_RETENTION_S, contend
from handler.sessions.values import Claim


def take(table: DynamoTable, tenant: str, wanted: Claim, clock: Callable[[], float]) -> Claim:
    """Put the claim where its key is free, else return whose it is. Raises: Conflict as `contend`."""
    while True:
        now_s = clock()
        row = table.get(rows.claim_key(tenant, wanted.key))
        held = rows.load_claim(row, now_s) if row is not None and rows.is_live(row, now_s) else None
        holder = contend(held, wanted, now_s)
        if holder is not wanted:
            return holder
        condition = rows.vacant(now_s) if held is None else rows.unsettled(held.owner)
        try:
            table.write(Put(rows.claim_row(tenant, wanted, rows.expiry(now_s, CLAIM_RETENTION_S)), condition))
        except ConditionFailed:
            continue  # somebody else took it in between: look again
        return wanted


def settled(tenant: str, claim: Claim, now_s: float) -> Put:
    """Make the action that notes what a claim led to, whether it has been taken before or not."""
    free, own = rows.vacant(now_s), rows.unsettled(claim.owner)
    condition = Expression(f"({free.text} OR ({own.text}))", {**free.values, **own.values})
    return Put(rows.claim_row(tenant, claim, rows.expiry(now_s, CLAIM_RETENTION_S)), condition)


def newest(table: DynamoTable, tenant: str, prefix: str, since: str, now_s: float) -> Claim | None:
    """Read the claim with the greatest key under a prefix."""
    pk, low = rows.claim_key(tenant, prefix)
    found = table.query(pk, low + since, low + rows.LAST, newest_first=True, page_rows=1)
    live = (row for row in found if rows.is_live(row, now_s))
    row = next(live, None)
    return None if row is None else rows.load_claim(row, now_s)


def release(table: DynamoTable, tenant: str, claim: Claim) -> None:
    """Remove a claim that its owner has not used."""
    try:
        table.write(Delete(rows.claim_key(tenant, claim.key), rows.unsettled(claim.owner)))
    except ConditionFailed:
        return
