"""The claims on idempotency keys as SQL; every function runs inside its caller's transaction."""

from __future__ import annotations

import sqlite3
from typing import Literal

from handler.sessions.values import Claim


def find(db: sqlite3.Connection, tenant: str, key: str, now_s: float) -> Claim | None:
    """Read who holds an idempotency key."""
    row = db.execute(
        "SELECT * FROM claims WHERE tenant = ? AND key = ? AND expires_at_s > ?", (tenant, key, now_s)
    ).fetchone()
    if row is None:
        return None
    state: Literal["done", "running"] = "running" if row["response_id"] is None else "done"
    return Claim(key, row["owner"], state, row["fingerprint"], row["until_s"], row["response_id"])


def put(db: sqlite3.Connection, tenant: str, claim: Claim, expires_at_s: float) -> None:
    """Let the claim's owner hold its key."""
    db.execute(
        "REPLACE INTO claims (tenant, key, owner, fingerprint, until_s, response_id, expires_at_s) "
        "VALUES (?, ?, ?, ?, ?, NULL, ?)",
        (tenant, claim.key, claim.owner, claim.fingerprint, claim.until_s, expires_at_s),
    )


def settle(db: sqlite3.Connection, tenant: str, claim: Claim, response_id: str) -> bool:
    """Note the response that a claim led to; False where the claim is no longer its owner's."""
    settled = db.execute(
        "UPDATE claims SET response_id = ? "
        "WHERE tenant = ? AND key = ? AND owner = ? AND response_id IS NULL",
        (response_id, tenant, claim.key, claim.owner),
    )
    return settled.rowcount == 1


def release(db: sqlite3.Connection, tenant: str, claim: Claim) -> None:
    """Delete a claim that its owner has not used."""
    db.execute(
        "DELETE FROM claims WHERE tenant = ? AND key = ? AND owner = ? AND response_id IS NULL",
        (tenant, claim.key, claim.owner),
    )
