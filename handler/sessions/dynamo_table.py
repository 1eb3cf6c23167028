"""One DynamoDB table with keys `pk` and `sk`: its calls, their repetition, their errors.

The only file that speaks botocore; knows no conversations. All reads are strongly consistent.
"""

from __future__ import annotations

import functools
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack, cast

from handler.errors import Unavailable
from handler.sessions.dynamo_request import (
    Action,
    Expression,
    Key,
    Row,
    Update,
    bindings,
    key_of,
    plain,
    request_of,
)

if TYPE_CHECKING:
    from botocore.loaders import Loader
    from mypy_boto3_dynamodb.client import DynamoDBClient

T = TypeVar("T")
CONNECT_TIMEOUT_S = 1.0
READ_TIMEOUT_S = 3.0
ATTEMPTS = 3
"""Per call, by botocore: timeouts, 5xx and throttling; a repeated transaction carries the same request token.
"""

CONTENTION_ATTEMPTS = 6
CONTENTION_BACKOFF_S = 0.02
BATCH_WRITE_ROWS = 25
BATCH_READ_ROWS = 100


POOL_CONNECTIONS = 32

_connecting = threading.Lock()  # a botocore session makes one client at a time


class ConditionFailed(Exception):
    """A write's condition did not hold, and nothing was written; `failed` are the positions in the
    transaction.
    """

    def __init__(self, failed: frozenset[int]) -> None:
        super().__init__(f"conditions {sorted(failed)} did not hold")
        self.failed = failed


class Reading(TypedDict, total=False):
    """How rows are read, where it is not oldest first, whole, and as many at a time as come."""

    newest_first: bool
    page_rows: int
    later_rows: int
    """In pages after the first."""
    attributes: Sequence[str]


class DynamoTable:
    """The calls on one table; safe to use from several threads."""

    def __init__(self, name: str, *, region: str | None = None, endpoint_url: str | None = None) -> None:
        """Name the table; nothing is imported or connected before the first call."""
        self.name = name
        self._where: dict[str, Any] = {"region_name": region, "endpoint_url": endpoint_url}
        self._made: DynamoDBClient | None = None

    def get(self, key: Key) -> Row | None:
        """Read a row. Raises: Unavailable, as every method."""
        with _translated():
            found = self.client.get_item(TableName=self.name, Key=key_of(key), ConsistentRead=True)
        return plain(found["Item"]) if "Item" in found else None

    def query(self, pk: str, low: str, high: str, **how: Unpack[Reading]) -> Iterator[Row]:
        """Read the rows of a partition with `low` <= sk <= `high`, a page at a time as they are asked for."""
        for page in self.pages(pk, low, high, **how):
            yield from page

    def pages(self, pk: str, low: str, high: str, **how: Unpack[Reading]) -> Iterator[list[Row]]:
        """Read as `query` does, and give what comes in one answer, of at most 1 MB, together."""
        condition = Expression(
            "#pk = :pk AND #sk BETWEEN :low AND :high", {"pk": pk, "low": low, "high": high}
        )
        attributes = how.get("attributes", ())
        request = {
            "TableName": self.name,
            "KeyConditionExpression": condition.text,
            "ScanIndexForward": not how.get("newest_first"),
            "ConsistentRead": True,
            **bindings(condition, attributes),
        }
        if attributes:
            request["ProjectionExpression"] = ", ".join(f"#{name}" for name in attributes)
        if "page_rows" in how:
            request["Limit"] = how["page_rows"]
        while True:
            with _translated():
                page = self.client.query(**request)
            yield list(map(plain, page["Items"]))
            if "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
            if "later_rows" in how:
                request["Limit"] = how["later_rows"]

    def get_many(self, keys: Sequence[Key]) -> dict[Key, Row]:
        """Read many rows; absent ones are left out."""
        found: dict[Key, Row] = {}
        pending = list(map(key_of, keys))
        for attempt in range(CONTENTION_ATTEMPTS):
            later: list[Any] = []
            for start in range(0, len(pending), BATCH_READ_ROWS):
                part = {"Keys": pending[start : start + BATCH_READ_ROWS], "ConsistentRead": True}
                with _translated():
                    answer = self.client.batch_get_item(RequestItems={self.name: cast(Any, part)})
                for row in map(plain, answer["Responses"].get(self.name, ())):
                    found[str(row["pk"]), str(row["sk"])] = row
                if self.name in (left := answer.get("UnprocessedKeys", {})):
                    later += left[self.name]["Keys"]
            if not later:
                return found
            pending = later
            _back_off(attempt)
        raise _busy()

    def write(self, *actions: Action) -> None:
        """Carry out all actions or none. Raises: ConditionFailed; Unavailable, and then it may have been
        done.
        """
        request = [request_of(self.name, action) for action in actions]
        _repeated(lambda: self.client.transact_write_items(TransactItems=cast(Any, request)))

    def update(self, action: Update) -> Row:
        """Change one row outside of a transaction and return it whole. Raises: ConditionFailed."""
        request = request_of(self.name, action)["Update"]
        changed = _repeated(lambda: self.client.update_item(**request, ReturnValues="ALL_NEW"))
        return plain(changed["Attributes"])

    def delete(self, keys: Sequence[Key]) -> None:
        """Remove many rows, in no order and not as one."""
        pending = [{"DeleteRequest": {"Key": key_of(key)}} for key in keys]
        for attempt in range(CONTENTION_ATTEMPTS):
            later: list[Any] = []
            for start in range(0, len(pending), BATCH_WRITE_ROWS):
                part = pending[start : start + BATCH_WRITE_ROWS]
                with _translated():
                    answer = self.client.batch_write_item(RequestItems={self.name: cast(Any, part)})
                later += answer.get("UnprocessedItems", {}).get(self.name, [])
            if not later:
                return
            pending = later
            _back_off(attempt)
        raise _busy()

    def create(self) -> None:
        """Make the table as template.yaml declares it; for this machine and for tests."""
        with _translated():
            self.client.create_table(
                TableName=self.name,
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[
                    {"AttributeName": "pk", "AttributeType": "S"},
                    {"AttributeName": "sk", "AttributeType": "S"},
                ],
                KeySchema=[
                    {"AttributeName": "pk", "KeyType": "HASH"},
                    {"AttributeName": "sk", "KeyType": "RANGE"},
                ],
            )
            self.client.get_waiter("table_exists").wait(TableName=self.name)
            ttl = {"Enabled": True, "AttributeName": "ttl"}
            self.client.update_time_to_live(TableName=self.name, TimeToLiveSpecification=cast(Any, ttl))

    def prepare(self) -> None:
        """Import botocore and read what it knows of the service, which is 200 ms of a first call.

        Nothing is connected: credentials are not looked for, either, which would ask a server for them.
        """
        nobody = {"aws_access_key_id": "none", "aws_secret_access_key": "none"}
        region = self._where["region_name"] or os.environ.get("AWS_REGION") or "us-east-1"
        with _connecting:
            _make_client(**{**self._where, "region_name": region}, **nobody).close()

    def close(self) -> None:
        """Drop the connections, and the credentials with theirs; the next call makes new ones."""
        with _connecting:
            made, self._made = self._made, None
        if made is not None:
            made.close()

    @property
    def client(self) -> DynamoDBClient:
        """The botocore client, made on first use: importing it costs more than a warm turn's reads."""
        with _connecting:
            if self._made is None:
                self._made = _make_client(**self._where)
            return self._made


def _make_client(**where: Any) -> DynamoDBClient:
    """Make a client with a session of its own, so that nothing of it is left when it is dropped."""
    import botocore.session
    from botocore.config import Config

    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=POOL_CONNECTIONS,
    )
    session = botocore.session.get_session()
    session.register_component("data_loader", _descriptions())
    return cast("DynamoDBClient", session.create_client("dynamodb", config=config, **where))


@functools.cache
def _descriptions() -> Loader:
    """Keep what botocore reads about the service, so that only the first connection pays for it."""
    from botocore.loaders import create_loader

    return create_loader()


class _Contended(Exception):
    """A write gave way to a transaction, or was throttled: nothing was written, and a repeat may succeed."""


@contextmanager
def _translated() -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raised = _translation(error)
        raise raised from (None if raised is error else error)
    except BotoCoreError as error:  # no connection, no answer in time, no credentials
        raise Unavailable("The session table cannot be reached right now.") from error


def _repeated(call: Callable[[], T]) -> T:
    """Make a call that writes, again where it gave way. Raises: what is told of it; Unavailable at last."""
    for attempt in range(CONTENTION_ATTEMPTS):
        try:
            with _translated():
                return call()
        except _Contended:
            _back_off(attempt)
    raise _busy()


def _translation(error: Any) -> Exception:
    code = error.response.get("Error", {}).get("Code", "")
    if code in ("ValidationException", "SerializationException"):
        return cast(Exception, error)  # we asked for something impossible: a bug, not weather
    if code == "ConditionalCheckFailedException":
        return ConditionFailed(frozenset({0}))
    if code == "TransactionCanceledException":
        reasons = [reason.get("Code") for reason in error.response.get("CancellationReasons", ())]
        failed = frozenset(n for n, reason in enumerate(reasons) if reason == "ConditionalCheckFailed")
        if failed:
            return ConditionFailed(failed)
        if {"ValidationError", "ItemCollectionSizeLimitExceeded"}.isdisjoint(reasons):
            return _Contended(str(reasons))
    if code in ("TransactionInProgressException", "TransactionConflictException"):
        return _Contended(code)
    return Unavailable(f"The session table cannot be used right now ({code or 'no code'}).")


def _busy() -> Unavailable:
    return Unavailable("The session table is too busy right now.")


def _back_off(attempt: int) -> None:
    """Sleep for up to a time that doubles; full jitter, so that those who met do not meet again."""
    time.sleep(random.uniform(0, CONTENTION_BACKOFF_S * 2**attempt))
