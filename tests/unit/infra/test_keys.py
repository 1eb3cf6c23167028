"""Keys: made, read, judged, handed out, rotated and revoked, with their records in a file."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.keys import (
    ALPHABET,
    ID_LETTERS,
    SECRET_LETTERS,
    Key,
    KeyRecord,
    Refused,
    bearer_key,
    judge,
    new_key,
    parse_key,
)
from handler.routes.events import LOCAL_TENANT
from infra import keys
from infra.key_stores import KEPT_AFTER_S, ended
from tests.stack import properties

NOW_S = 1_800_000_000
letters = st.sampled_from(ALPHABET)
some_keys = st.builds(
    lambda a, b: Key("".join(a), "".join(b)),
    st.lists(letters, min_size=ID_LETTERS, max_size=ID_LETTERS),
    st.lists(letters, min_size=SECRET_LETTERS, max_size=SECRET_LETTERS),
)


def record_of(key: Key, **facts: Any) -> KeyRecord:
    return KeyRecord(key.id, key.sha256, "alice", NOW_S, **facts)


@given(some_keys)
def test_a_key_is_read_as_it_was_made(key: Key) -> None:
    """What is sent is what was made, with or without the header's scheme in capitals."""
    assert (
        parse_key(key.text) == bearer_key(f"Bearer {key.text}") == bearer_key(f"bearer  {key.text} ") == key
    )
    assert key.secret not in repr(key)


@given(some_keys, st.data())
def test_a_typing_error_is_told_without_asking(key: Key, data: st.DataObject) -> None:
    """One wrong letter, or two neighbours swapped, is noticed by the checksum alone; nothing is quoted."""
    text = key.text
    place = data.draw(st.integers(3, len(text) - 2).filter(lambda i: text[i] != "-" and text[i + 1] != "-"))
    other = data.draw(letters.filter(lambda letter: letter != text[place]))
    wrong = {text[:place] + other + text[place + 1 :]}
    if text[place] != text[place + 1]:
        wrong.add(text[:place] + text[place + 1] + text[place] + text[place + 2 :])
    for each in wrong:
        with pytest.raises(ValueError, match="mistyped") as refused:
            parse_key(each)
        assert key.secret[:8] not in str(refused.value)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (None, "Authorization: Bearer"),
        ("", "Authorization: Bearer"),
        ("Bearer", "Authorization: Bearer"),
        ("Basic dXNlcjpwdw==", "Authorization: Bearer"),
        ("Bearer sk-abcdef", "begins with `dm-`"),
        ("Bearer dm-short", "letter too many"),
        (f"Bearer {new_key().text}\nx", "letter too many"),
        (f"Bearer {new_key().text.upper().replace('DM', 'dm')}", "letter too many"),
        (f"Bearer dm-{'é' * 10}-{'é' * 39}", "letter too many"),
    ],
)
def test_what_is_no_key_is_said_to_be_none(sent: str | None, words: str) -> None:
    """A missing, foreign or damaged key gets the sentence that helps."""
    with pytest.raises(ValueError, match=words):
        bearer_key(sent)


def test_keys_differ() -> None:
    """A thousand keys have a thousand ids and secrets, and use all letters of the alphabet."""
    made = [new_key() for _ in range(1000)]
    assert len({key.id for key in made}) == len({key.secret for key in made}) == 1000
    assert {letter for key in made for letter in key.secret} == set(ALPHABET)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({}, None),
        ({"expires_s": NOW_S + 1}, None),
        ({"expires_s": NOW_S}, "expired"),
        ({"revoked_s": NOW_S - 5}, "revoked"),
        ({"expires_s": NOW_S + 9, "revoked_s": NOW_S}, "revoked"),
    ],
)
def test_a_record_admits_until_its_end(facts: dict[str, int], reason: str | None) -> None:
    """A key is good until the second of its expiry, and not after it was revoked."""
    key = new_key()
    record = record_of(key, **facts)
    if reason is None:
        assert judge(key, {key.id: record}.get, NOW_S) == record
    else:
        with pytest.raises(Refused, match=reason):
            judge(key, {key.id: record}.get, NOW_S)


def test_a_record_is_written_and_read() -> None:
    """A row gives the record it was made of; a part that is missing or of another type is refused by name."""
    record = record_of(new_key(), expires_s=NOW_S + 1, usage_key="counter-of-alice-000")
    assert KeyRecord.from_row(record.row()) == record
    assert KeyRecord.from_row({**record_of(new_key()).row(), "ttl": 5}).expires_s is None
    for wrong in ({"tenant": None}, {"tenant": 5}, {"expires_s": "soon"}, {"sha256": None}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            KeyRecord.from_row({**record.row(), **wrong})


@given(st.integers(1, 10**6), st.integers(1, 10**6) | st.none())
def test_a_rotation_never_prolongs(grace_s: int, left_s: int | None) -> None:
    """The old key ends after its grace, or when it would have ended anyway, whichever is first."""
    old = record_of(new_key(), expires_s=None if left_s is None else NOW_S + left_s)
    last = ended(old, expires_s=NOW_S + grace_s)
    assert last.expires_s == NOW_S + min(grace_s, left_s or grace_s)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = keys.main(arguments)
    said = capsys.readouterr()
    return status, said.out.strip(), said.err.strip()


def test_the_command_line_hands_out_rotates_and_revokes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key is shown once, its file holds no secret; after a rotation both are good, revoked is for good."""
    file = tmp_path / "keys.json"
    where = ("--file", str(file))
    _, text, _ = run(capsys, *where, "issue", "--tenant", "alice", "--days", "30")
    first = parse_key(text)
    _, text, _ = run(capsys, *where, "rotate", first.id, "--grace-hours", "1")
    second = parse_key(text)
    assert first.secret not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    records = {row["id"]: KeyRecord.from_row(row) for row in json.loads(file.read_text())["keys"]}
    for key in (first, second):
        assert judge(key, records.get, time.time()).tenant == "alice"
    with pytest.raises(Refused, match="expired"):
        judge(first, records.get, time.time() + 3601)
    assert run(capsys, *where, "revoke", second.id)[0] == 0
    _, listed, _ = run(capsys, *where, "list", "--tenant", "alice")
    assert [line.split()[:3] for line in listed.splitlines()] == sorted(
        [[first.id, "alice", "valid"], [second.id, "alice", "revoked"]],
        key=lambda row: (records[row[0]].created_s, row[0]),
    )
    status, out, err = run(capsys, *where, "rotate", second.id)
    assert (status, out) == (1, "")
    assert "revoked already" in err


def test_the_command_line_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each mistake is one line that names what to do."""
    (tmp_path / "wrong").write_text("[]")
    assert "--table" in run(capsys, "list")[2]
    assert "`list` shows the ids" in run(capsys, "--file", str(tmp_path / "none"), "revoke", "x")[2]
    assert "no file of keys" in run(capsys, "--file", str(tmp_path / "wrong"), "list")[2]
    assert "not to a file" in run(capsys, "--file", "f", "issue", "--tenant", "a", "--usage-plan", "p")[2]
    for wrong in (["--tenant", "a b"], ["--tenant", "a", "--days", "0"], ["--tenant", ""]):
        with pytest.raises(SystemExit):
            keys.main(["--file", "f", "issue", *wrong])
        assert "is no name" in (said := capsys.readouterr().err) or "whole number" in said


def test_no_key_is_made_that_every_server_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The name of those who need no key is refused when a key is asked for; one made before can be listed."""
    assert keys.RESERVED == LOCAL_TENANT
    where = ("--file", str(tmp_path / "keys.json"))
    with pytest.raises(SystemExit):
        keys.main([*where, "issue", "--tenant", LOCAL_TENANT])
    assert "reserved" in capsys.readouterr().err
    assert not (tmp_path / "keys.json").exists()
    assert run(capsys, *where, "list", "--tenant", LOCAL_TENANT)[0] == 0


def test_tables_forget_what_has_long_ended() -> None:
    """The table of keys deletes by itself by the attribute that the records carry, long after a key's end."""
    assert properties("Keys")["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
    assert KEPT_AFTER_S > 30 * keys.DAY_S
