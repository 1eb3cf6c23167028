"""Where records of keys are kept: a DynamoDB table in the cloud, a JSON file for a server of one's own.

Knows no secrets: what it is given are records. The file is the one that `handler/key_file.py` reads.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from handler.key_file import read_key_file
from handler.keys import KeyRecord

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

KEPT_AFTER_S = 90 * 86_400
"""A record outlives its key by this long, so that a list still says what became of it."""

STILL_IN_USE = "attribute_exists(id) AND attribute_not_exists(revoked_s)"


class KeyStoreError(Exception):
    """The records cannot be read or written as asked; one line for the operator."""


class KeyStore(Protocol):
    """Where records of keys are kept. Every method raises KeyStoreError."""

    def records(self) -> list[KeyRecord]:
        """All of them, oldest first."""

    def add(self, record: KeyRecord) -> None:
        """Keep a new one."""

    def replace(self, old: KeyRecord, new: KeyRecord | None = None) -> None:
        """Give a record that is there its new end, and keep another beside it: both or neither."""


class FileKeys:
    """Records in a JSON file that its owner alone may read; written whole, so a reader never sees half."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def records(self) -> list[KeyRecord]:
        """All of them, oldest first; none where there is no file yet."""
        try:
            found = read_key_file(self._path).values() if self._path.exists() else []
        except (OSError, ValueError) as error:
            raise KeyStoreError(f"{self._path}: {error}") from error
        return sorted(found, key=lambda record: (record.created_s, record.id))

    def add(self, record: KeyRecord) -> None:
        """Keep a new one."""
        self._write([*self.records(), record])

    def replace(self, old: KeyRecord, new: KeyRecord | None = None) -> None:
        """Give a record its new end, and keep another beside it."""
        kept = [old if record.id == old.id else record for record in self.records()]
        self._write([*kept, new] if new else kept)

    def _write(self, records: list[KeyRecord]) -> None:
        try:
            handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=self._path.name)
            with os.fdopen(handle, "w") as file:
                json.dump({"keys": [record.row() for record in records]}, file, indent=1)
            Path(name).replace(self._path)
        except OSError as error:
            raise KeyStoreError(f"{self._path}: {error.strerror}") from error


class DynamoKeys:
    """Records in the stack's table of keys, by their id."""

    def __init__(self, table: str, *, region: str | None = None, endpoint_url: str | None = None) -> None:
        self._table = table
        self._where: dict[str, Any] = {"region_name": region, "endpoint_url": endpoint_url}

    def records(self) -> list[KeyRecord]:
        """All of them, oldest first."""
        with self._client() as client:
            pages = client.get_paginator("scan").paginate(TableName=self._table, ConsistentRead=True)
            rows = [item for page in pages for item in page["Items"]]
        try:
            found = [KeyRecord.from_row({name: _plain(value) for name, value in row.items()}) for row in rows]
        except ValueError as error:
            raise KeyStoreError(f"the table {self._table} holds something else than keys: {error}") from error
        return sorted(found, key=lambda record: (record.created_s, record.id))

    def add(self, record: KeyRecord) -> None:
        """Keep a new one."""
        with self._client() as client:
            client.put_item(
                TableName=self._table, Item=_item(record), ConditionExpression="attribute_not_exists(id)"
            )

    def replace(self, old: KeyRecord, new: KeyRecord | None = None) -> None:
        """Give a record that is there its new end, and keep another beside it: both or neither."""
        puts: list[Any] = [
            {"TableName": self._table, "Item": _item(old), "ConditionExpression": STILL_IN_USE}
        ]
        if new:
            fresh = "attribute_not_exists(id)"
            puts.append({"TableName": self._table, "Item": _item(new), "ConditionExpression": fresh})
        with self._client() as client:
            client.transact_write_items(TransactItems=[{"Put": put} for put in puts])

    @contextmanager
    def _client(self) -> Iterator[DynamoDBClient]:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield boto3.client("dynamodb", **self._where)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            known = {
                "ResourceNotFoundException": f"there is no table {self._table} in this region and account",
                "ConditionalCheckFailedException": "a key of this id is there already",
                "TransactionCanceledException": "somebody else has just changed this key; look at the list",
            }
            raise KeyStoreError(known.get(code, f"{self._table}: {error}")) from error
        except (BotoCoreError, ValueError) as error:  # a ValueError is a wrong endpoint
            raise KeyStoreError(f"{self._table}: {error}") from error


def ended(record: KeyRecord, *, expires_s: int | None = None, revoked_s: int | None = None) -> KeyRecord:
    """The record with an end that is never later than the one it had."""
    if expires_s is not None and record.expires_s is not None:
        expires_s = min(expires_s, record.expires_s)
    return replace(record, expires_s=expires_s or record.expires_s, revoked_s=revoked_s or record.revoked_s)


def _item(record: KeyRecord) -> dict[str, Any]:
    row: dict[str, str | int] = record.row()
    ends_s = [end for end in (record.expires_s, record.revoked_s) if end is not None]
    if ends_s:
        row["ttl"] = min(ends_s) + KEPT_AFTER_S
    return {
        name: {"S": value} if isinstance(value, str) else {"N": str(value)} for name, value in row.items()
    }


def _plain(value: Any) -> str | int:
    return int(value["N"]) if "N" in value else str(value["S"])
