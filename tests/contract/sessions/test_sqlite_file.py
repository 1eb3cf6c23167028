"""The session file on its own: what is refused at the start, who may read it, several opening it at once."""

from __future__ import annotations

import math
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import pytest

from handler.errors import SettingsError, Unavailable
from handler.sessions.sqlite import SqliteSessions
from handler.sessions.sqlite_file import SCHEMA_VERSION, _enter_wal
from tests.contract.sessions.stores import HandClock
from tests.contract.sessions.turns import TENANT, conversation, grow, message, response


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """What a newer Dormouse wrote is not touched, and the message says so."""
    path = tmp_path / "sessions.sqlite3"
    SqliteSessions(path, clock=time.time).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(SettingsError, match="newer"):
        SqliteSessions(path, clock=time.time)


def test_another_file_is_refused(tmp_path: Path) -> None:
    """A file that is no database is refused by name and stays as it is."""
    path = tmp_path / "notes.txt"
    path.write_text("not a database, " * 100)
    with pytest.raises(SettingsError, match="notes"):
        SqliteSessions(path, clock=time.time)
    assert path.read_text() == "not a database, " * 100


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """A folder in the way of the file is reported at the start."""
    with pytest.raises(SettingsError, match="session file"):
        SqliteSessions(tmp_path, clock=time.time)


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    """Conversations are private: neither group nor others may read any of the files."""
    path = tmp_path / "deep" / "sessions.sqlite3"
    store = SqliteSessions(path, clock=time.time)
    store.create(TENANT, conversation(), [message("msg_1")])
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file.name
    store.close()


def test_a_closed_store_opens_again(tmp_path: Path) -> None:
    """Closing lets go of the file, not of the store."""
    store = SqliteSessions(tmp_path / "sessions.sqlite3", clock=time.time)
    held = store.create(TENANT, conversation())
    store.close()
    assert store.get(TENANT, "conv_a") == held


def test_a_locked_file_is_unavailable(tmp_path: Path) -> None:
    """Whoever holds the file for too long makes writers fail cleanly; nothing of theirs is stored."""
    path = tmp_path / "sessions.sqlite3"
    store = SqliteSessions(path, clock=time.time, busy_timeout_s=0.05)
    held = store.create(TENANT, conversation())
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable):
        store.append(TENANT, held, [message("msg_1")])
    assert store.get(TENANT, "conv_a") == held
    holder.close()
    assert store.append(TENANT, held, [message("msg_1")]).version == 2


class FullDisk:
    """A connection to a file that cannot grow."""

    def __init__(self) -> None:
        self.asked = 0

    def execute(self, _: str) -> None:
        """Fail, as SQLite does."""
        self.asked += 1
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error


def test_a_full_disk_is_told_at_once() -> None:
    """The start waits for whoever holds the file, and for nothing else."""
    disk = FullDisk()
    with pytest.raises(sqlite3.OperationalError, match="full"):
        _enter_wal(cast(sqlite3.Connection, disk))
    assert disk.asked == 1


def test_an_attempt_is_found_without_a_look_at_other_requests(tmp_path: Path) -> None:
    """Of a day of notes that sort behind it, and of keys, none is read: fewer instructions than there are."""
    store = SqliteSessions(tmp_path / "sessions.sqlite3", clock=HandClock())
    notes = [(TENANT, f"try:{n:04d}:1", "owner", "", 0.0, None, math.inf) for n in range(1_000)]
    with store._file.write() as db:
        db.executemany("INSERT INTO claims VALUES (?, ?, ?, ?, ?, ?, ?)", notes)
    instructions: list[int] = []
    db.set_progress_handler(lambda: instructions.append(1), 1)
    found = store.newest_claim(TENANT, "try:0007:", since="0")
    assert found is not None
    assert found.key == "try:0007:1"
    assert store.newest_claim(TENANT, "try:000:", since="0") is None
    assert len(instructions) < 1_000
    store.close()


def test_expired_rows_are_swept_by_later_writes(tmp_path: Path) -> None:
    """The file does not keep what nobody can read any more."""
    clock = HandClock()
    path = tmp_path / "sessions.sqlite3"
    store = SqliteSessions(path, clock=clock, retention_s=10)
    grow(store, store.create(TENANT, conversation("conv_old")), turns=15)
    clock.now_s += 20
    grow(store, store.create(TENANT, conversation("conv_new")), turns=2)
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT DISTINCT conversation_id FROM items").fetchall() == [("conv_new",)]
        assert db.execute("SELECT id FROM conversations").fetchall() == [("conv_new",)]


def test_what_was_kept_for_ever_is_swept_once_it_is_not(tmp_path: Path) -> None:
    """With a retention that comes later, the next turn gives what was said before an end, too."""
    clock, path = HandClock(), tmp_path / "sessions.sqlite3"
    store = SqliteSessions(path, clock=clock)
    grow(store, store.create(TENANT, conversation("conv_old")), turns=1)
    store.close()
    store = SqliteSessions(path, clock=clock, retention_s=10)
    grow(store, store.renew(TENANT, store.get(TENANT, "conv_old")), turns=1)
    clock.now_s += 20
    grow(store, store.create(TENANT, conversation("conv_new")), turns=1)
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT DISTINCT conversation_id FROM items").fetchall() == [("conv_new",)]
    store.close()


@pytest.mark.parametrize("is_overwriting", [True, False])
def test_what_is_deleted_is_in_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_overwriting: bool
) -> None:
    """Items, responses, conversations, everything: their bytes are gone when the call returns, also with an
    SQLite that was not built to overwrite what it deletes.
    """
    connect = sqlite3.connect

    def connected(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.execute(f"PRAGMA secure_delete = {'ON' if is_overwriting else 'OFF'}")
        return connection

    monkeypatch.setattr(sqlite3, "connect", connected)
    store = SqliteSessions(tmp_path / "sessions.sqlite3", clock=time.time)
    secrets = ["an item's", "a response's", "a conversation's", "a tenant's"]
    said = [message(f"msg_{n}", secret) for n, secret in enumerate(secrets[::3])]
    made = response("resp_1", body={"text": secrets[1]})
    store.append(TENANT, conversation(), said, response=made)
    store.create(TENANT, conversation("conv_b"), [message("msg_1", secrets[2])])
    for secret, delete in zip(
        secrets,
        (
            lambda: store.delete_item(TENANT, "conv_a", "msg_0"),
            lambda: store.delete_response(TENANT, "resp_1"),
            lambda: store.delete(TENANT, "conv_b"),
            lambda: store.erase(TENANT),
        ),
        strict=True,
    ):
        assert holding(tmp_path, secret)
        delete()
        assert not holding(tmp_path, secret)
    store.close()


def test_a_reader_does_not_hold_up_a_deletion_for_good(tmp_path: Path) -> None:
    """Who reads an older state keeps it in the log; the deletion is done all the same, and the log is emptied
    by the next one.
    """
    store = SqliteSessions(tmp_path / "sessions.sqlite3", clock=time.time, busy_timeout_s=0.05)
    for name in ("a", "b"):
        store.create(TENANT, conversation(f"conv_{name}"), [message("msg_1", f"secret of {name}")])
    reader = sqlite3.connect(tmp_path / "sessions.sqlite3", isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT COUNT(*) FROM items").fetchone() == (2,)
    store.delete(TENANT, "conv_a")
    assert [held.id for held in store.conversations(TENANT).data] == ["conv_b"]
    reader.execute("COMMIT")
    store.delete(TENANT, "conv_b")
    assert not holding(tmp_path, "secret")
    reader.close()
    store.close()


def holding(folder: Path, text: str) -> list[str]:
    """Name the files that have a text somewhere among their bytes."""
    return [path.name for path in folder.iterdir() if text.encode() in path.read_bytes()]


def test_processes_that_start_together_share_one_new_file(tmp_path: Path) -> None:
    """Eight processes open a file that is not there yet, and each writes: none fails, nothing is missing."""
    path = tmp_path / "sessions.sqlite3"
    program = (
        "import sys, time; from pathlib import Path\n"
        "from handler.sessions import Conversation\n"
        "from handler.sessions.sqlite import SqliteSessions\n"
        "store = SqliteSessions(Path(sys.argv[1]), clock=time.time)\n"
        "store.create('acme', Conversation(sys.argv[2], created_at_s=0))\n"
    )
    started = [subprocess.Popen([sys.executable, "-c", program, str(path), f"conv_{n}"]) for n in range(8)]
    assert [process.wait(timeout=60) for process in started] == [0] * 8
    store = SqliteSessions(path, clock=time.time)
    assert len(store.conversations(TENANT).data) == 8
    store.close()
