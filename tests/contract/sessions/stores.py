"""The implementations of `SessionStore` under contract, and how any process opens them at the same place."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from handler.sessions import SessionStore
from handler.sessions.dynamo import DynamoSessions
from handler.sessions.dynamo_table import DynamoTable
from handler.sessions.sqlite import SqliteSessions
from tests.contract.sessions.turns import NOW_S

IMPLEMENTATIONS = {
    "sqlite": SqliteSessions,
    "dynamodb": DynamoSessions,
    "dynamodb-moto": DynamoSessions,
}
"""Each is held to every test of this folder; the two servers differ in what they accept."""


@dataclass(frozen=True)
class Place:
    """Where a store keeps its records; plain text, so that it can be handed to another process."""

    kind: str
    address: str
    table: str = ""

    def open(self, clock: Callable[[], float], retention_s: float | None = None) -> SessionStore:
        """Open a store of this kind there."""
        if self.kind == "sqlite":
            return SqliteSessions(Path(self.address), clock=clock, retention_s=retention_s)
        return DynamoSessions(self.dynamo_table(), clock=clock, retention_s=retention_s)

    def dynamo_table(self) -> DynamoTable:
        """Connect to the table."""
        return DynamoTable(self.table, region="us-east-1", endpoint_url=self.address)


def everything_in(place: Place) -> str:
    """All that is stored there, seen by readers or not, as one text."""
    if place.kind == "sqlite":
        with sqlite3.connect(place.address) as db:
            return "\n".join(db.iterdump())
    pages = place.dynamo_table().client.get_paginator("scan").paginate(TableName=place.table)
    return "\n".join(
        value for page in pages for row in page["Items"] for typed in row.values() for value in typed.values()
    )


@dataclass
class HandClock:
    """A clock that goes only when told."""

    now_s: float = NOW_S

    def __call__(self) -> float:
        return self.now_s
