"""The session file: its schema, its connections, its transactions, its errors; it knows no conversations.

One connection for each transaction at a time, and one kept between them, in WAL mode with
`synchronous=FULL`: a commit that has returned is on the disk, whatever is killed next. A connection never
crosses a fork. Source:
https://www.sqlite.org/howtocorrupt.html, https://www.sqlite.org/pragma.html#pragma_synchronous
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from handler.errors import SettingsError, Unavailable

SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 10.0
KEPT_CONNECTIONS = 1
"""Another takes 0.3 ms to open, and three files for as long as it is open."""

_SCHEMA = """
CREATE TABLE conversations (
    tenant TEXT, id TEXT, created_at_s INTEGER, hidden INTEGER, lineage TEXT, metadata TEXT, title TEXT,
    version INTEGER, last_seq INTEGER, updated_at_s INTEGER,
    input_tokens INTEGER, cached_tokens INTEGER, output_tokens INTEGER, requests INTEGER,
    expires_at_s REAL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX conversations_by_age ON conversations (tenant, hidden, created_at_s, id);
CREATE TABLE items (
    tenant TEXT, conversation_id TEXT, seq INTEGER, id TEXT, doc TEXT, expires_at_s REAL,
    PRIMARY KEY (tenant, conversation_id, seq),
    UNIQUE (tenant, conversation_id, id)
);
CREATE TABLE responses (
    tenant TEXT, id TEXT, conversation_id TEXT, first_seq INTEGER, last_seq INTEGER, doc TEXT, expires_at_s
    REAL, PRIMARY KEY (tenant, id)
);
CREATE INDEX responses_by_conversation ON responses (tenant, conversation_id);
CREATE TABLE claims (
    tenant TEXT, key TEXT, owner TEXT, fingerprint TEXT, until_s REAL, response_id TEXT, expires_at_s REAL,
    PRIMARY KEY (tenant, key)
);
CREATE TABLE counters (
    tenant TEXT, period TEXT, input_tokens INTEGER, cached_tokens INTEGER, output_tokens INTEGER,
    requests INTEGER, expires_at_s REAL,
    PRIMARY KEY (tenant, period)
);
CREATE INDEX conversations_by_expiry ON conversations (expires_at_s);
CREATE INDEX items_by_expiry ON items (expires_at_s);
CREATE INDEX responses_by_expiry ON responses (expires_at_s);
CREATE INDEX claims_by_expiry ON claims (expires_at_s);
CREATE INDEX counters_by_expiry ON counters (expires_at_s);
"""

# What came later and an older Dormouse may find in the file: it does without.
_ADDED = """
CREATE TABLE IF NOT EXISTS cancellations (tenant TEXT, id TEXT, expires_at_s REAL, PRIMARY KEY (tenant, id));
CREATE INDEX IF NOT EXISTS items_by_conversation ON items (tenant, conversation_id, expires_at_s, seq);
"""


class SqliteFile:
    """An open session file."""

    def __init__(self, path: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        """Open the file, make it where there is none. Raises: SettingsError where it cannot serve."""
        self.path = path
        self._busy_timeout_s = busy_timeout_s
        self._lock = threading.Lock()
        self._idle: dict[int, list[sqlite3.Connection]] = {}  # by process: a child leaves its parent's alone
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # what people said is the owner's alone
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise SettingsError(f"{path}: cannot be used as the session file: {error}") from error

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """See one state of the file throughout. Raises: Unavailable."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Write alone; all is committed on the way out, or nothing where an exception leaves. Raises:
        Unavailable.
        """
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def erase(self) -> Iterator[sqlite3.Connection]:
        """Do what `write` does, and leave what was deleted in no file: the log has it still, and is emptied.

        While somebody reads an older state that waits, for the next erasure or the last connection's end.
        """
        with self.write() as connection:
            yield connection
        with self._connected() as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close this process's idle connections."""
        with self._lock:
            for connection in self._idle.pop(os.getpid(), []):
                connection.close()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._connected() as connection:
            try:
                connection.execute(begin)
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._take()
            try:
                yield connection
            finally:
                self._give_back(connection)
        except sqlite3.Error as error:
            raise Unavailable(f"The session file cannot be used right now: {error}.") from error

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            idle = self._idle.setdefault(os.getpid(), [])
            if idle:
                return idle.pop()
        return self._connect()

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            idle = self._idle.setdefault(os.getpid(), [])
            if len(idle) < KEPT_CONNECTIONS:
                idle.append(connection)
                return
        connection.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False
        )
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten
        connection.execute("PRAGMA cache_size = -256")  # KiB, not 2 MB for every one as the file grows
        return connection

    def _prepare(self) -> None:
        connection = self._connect()
        try:
            _enter_wal(connection)
            # Of several processes that start at once, one makes the schema.
            connection.execute("BEGIN IMMEDIATE")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA_VERSION:
                raise SettingsError(
                    f"{self.path}: written by a newer Dormouse (schema {version}, here {SCHEMA_VERSION})"
                )
            if version == 0:
                _carry_out(connection, _SCHEMA)
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            _carry_out(connection, _ADDED)
            connection.execute("COMMIT")
        finally:
            connection.close()


def _carry_out(connection: sqlite3.Connection, script: str) -> None:
    """Carry out statements within a transaction, which `executescript` would end."""
    for statement in script.split(";"):
        connection.execute(statement)


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL; while another process switches, SQLite answers "locked" at once instead of waiting."""
    give_up_s = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_s:
                raise
            time.sleep(0.01)
