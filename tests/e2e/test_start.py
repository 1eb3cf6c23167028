"""Starting: soon ready, or one clear line that says why not."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.server import ROOT, Server


def start(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a server that is expected to refuse."""
    command = [sys.executable, "-m", "handler.local", "--port", "0", *arguments]
    return subprocess.run(
        command,
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def check_refusal(run: subprocess.CompletedProcess[str], *words: str) -> None:
    """One line on stderr, with these words in it, and a status that is not 0."""
    assert run.returncode == 1
    assert run.stdout == ""
    assert len(run.stderr.splitlines()) == 1
    for word in words:
        assert word in run.stderr


def test_port_in_use(bundle: Path) -> None:
    """A port that is taken is named."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        check_refusal(start("--port", port, "--bundle", str(bundle)), port, "in use")


def test_no_bundle(tmp_path: Path) -> None:
    """A folder without a bundle is named."""
    check_refusal(start("--bundle", str(tmp_path)), str(tmp_path), "bundle.json")


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_wrong_byte(bundle: Path, tmp_path: Path, name: str) -> None:
    """One altered byte in a file of the bundle, and the server refuses and says which file."""
    damaged = tmp_path / "bundle"
    shutil.copytree(bundle, damaged)
    content = bytearray((damaged / name).read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / name).write_bytes(content)
    check_refusal(start("--bundle", str(damaged)), name)


def test_wrong_settings(bundle: Path) -> None:
    """A variable that nobody knows is refused, with the one that was meant."""
    run = start("--bundle", str(bundle), DORMOUSE_THREAD="2")
    check_refusal(run, "DORMOUSE_THREAD", "DORMOUSE_THREADS")


def test_unwritable_sessions(bundle: Path, tmp_path: Path) -> None:
    """A place where no file can be made is named."""
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "sessions.sqlite3"
    check_refusal(start("--bundle", str(bundle), "--sessions", str(path)), str(path))


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_reachable_without_keys(host: str) -> None:
    """An address that other machines can reach needs a file of keys, and the line says how to make one."""
    check_refusal(start("--host", host), host, "--keys", "infra.keys")


def test_a_file_without_keys(tmp_path: Path) -> None:
    """A file of keys that is missing is named."""
    check_refusal(start("--keys", str(tmp_path / "keys.json")), "keys.json", "No such file")


def test_an_output_that_nobody_reads_on(bundle: Path, tmp_path: Path) -> None:
    """`make chat | head -1`: the reader has gone when the server says its last words, and nothing fails."""
    with Server(bundle, tmp_path / "sessions.sqlite3", tmp_path / "log") as server:
        assert server.process.stdout is not None
        server.process.stdout.close()
        assert server.interrupt() == 0
    assert (tmp_path / "log").read_text() == ""
