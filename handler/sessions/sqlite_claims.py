"""The claims on idempotency keys as SQL; every function runs inside its caller's transaction."""

from __future__ import annotations

import sqlite3

from handler.sessions.records import state_of
from handler.sessions.values import Claim

_LAST = "\U0010ffff"  # sorts after every other character


def find(db: sqlite3.Connection, tenant: str, key: str, now_s: float) -> Claim | None:
    """Read who holds an idempotency key."""
    row = db.execute(
        "SELECT * FROM claims WHERE tenant = ? AND key = ? AND expires_at_s > ?", (tenant, key, now_s)
    ).fetchone()
    return None if row is None else _load(row, now_s)


def newest(db: sqlite3.Connection, tenant: str, prefix: str, since: str, now_s: float) -> Claim | None:
    """Read the claim with the greatest key under a prefix."""
    row = db.execute(
        "SELECT * FROM claims WHERE tenant = ? AND key BETWEEN ? AND ? AND expires_at_s > ? "
        "ORDER BY key DESC LIMIT 1",
        (tenant, prefix + since, prefix + _LAST, now_s),
    ).fetchone()
    return None if row is None else _load(row, now_s)


def put(db: sqlite3.Connection, tenant: str, claim: Claim, expires_at_s: float) -> None:
    """Let the claim's owner hold its key, settled where it has a result."""
    db.execute(
        "REPLACE INTO claims (tenant, key, owner, fingerprint, until_s, response_id, expires_at_s) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (tenant, claim.key, claim.owner, claim.fingerprint, claim.until_s, claim.result, expires_at_s),
    )


def settle(db: sqlite3.Connection, tenant: str, claim: Claim, now_s: float, expires_at_s: float) -> bool:
    """Note what a claim led to; False where the claim is no longer its owner's."""
    held = find(db, tenant, claim.key, now_s)
    if held is not None and (held.owner != claim.owner or held.result is not None):
        return False
    put(db, tenant, claim, expires_at_s)
    return True


def release(db: sqlite3.Connection, tenant: str, claim: Claim) -> None:
    """Delete a claim that its owner has not used."""
    db.execute(
        "DELETE FROM claims WHERE tenant = ? AND key = ? AND owner = ? AND response_id IS NULL",
        (tenant, claim.key, claim.owner),
    )


def _load(row: sqlite3.Row, now_s: float) -> Claim:
    result = row["response_id"]  # the column's older name
    state = state_of(result, row["until_s"], now_s)
    return Claim(row["key"], row["owner"], state, row["fingerprint"], row["until_s"], result)
