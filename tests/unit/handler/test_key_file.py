"""A server that other machines can reach asks for keys; one on loopback does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from handler.errors import StartupError, Unauthorized, Unavailable
from handler.key_file import KeyFile
from handler.keys import KeyRecord, new_key
from infra.key_stores import FileKeys

OLD, NEW = new_key(), new_key()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    FileKeys(path).add(KeyRecord(OLD.id, OLD.sha256, "alice", 1))
    return path


def test_a_key_in_the_file_names_its_tenant(file: Path) -> None:
    """A key that is in the file admits; a mistyped one is told so, any other is just not valid."""
    door = KeyFile(file)
    assert door.tenant(f"Bearer {OLD.text}") == "alice"
    for sent, words in (
        (f"Bearer {NEW.text}", "not valid"),
        (f"Bearer {OLD.text[:-1]}", "letter"),
        (None, "Bearer"),
    ):
        with pytest.raises(Unauthorized, match=words):
            door.tenant(sent)


def test_a_change_of_the_file_counts_at_once(file: Path) -> None:
    """A key that is added admits, one that is revoked does not, without a restart."""
    door = KeyFile(file)
    FileKeys(file).add(KeyRecord(NEW.id, NEW.sha256, "bob", 2))
    assert door.tenant(f"Bearer {NEW.text}") == "bob"
    FileKeys(file).replace(KeyRecord(OLD.id, OLD.sha256, "alice", 1, revoked_s=3))
    with pytest.raises(Unauthorized):
        door.tenant(f"Bearer {OLD.text}")


def test_a_file_that_cannot_be_read_lets_nobody_in(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The operator is told why, once; whoever has a key is told to come again, and not that it is wrong."""
    door, text = KeyFile(file), file.read_text()
    file.write_text("{")
    os.utime(file, (5, 5))
    for _ in range(2):
        with pytest.raises(Unavailable):
            door.tenant(f"Bearer {OLD.text}")
    assert [record.message for record in caplog.records] == [
        f"nobody is let in: keys: {file}: this is no file of keys; `python -m infra.keys` writes one"
    ]
    file.unlink()
    with pytest.raises(Unavailable):
        door.tenant(f"Bearer {OLD.text}")
    assert caplog.records[-1].message.endswith("No such file or directory")
    file.write_text(text)
    assert door.tenant(f"Bearer {OLD.text}") == "alice"


@pytest.mark.parametrize("text", ["", "[]", '{"keys": [{}]}', '{"keys": []}'])
def test_a_file_without_keys_stops_the_start(text: str, tmp_path: Path) -> None:
    """One line names the file, before the model is loaded."""
    path = tmp_path / "keys.json"
    path.write_text(text)
    with pytest.raises(StartupError, match=r"keys\.json"):
        KeyFile(path)
    with pytest.raises(StartupError, match="No such file"):
        KeyFile(tmp_path / "none")
