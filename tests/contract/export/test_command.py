"""What the operating system refuses is one line with the file's name, and exit code 1; never a traceback."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from export.__main__ import main
from export.command import run
from export.errors import reason
from export.graph.writer import DATA_FILE, GraphWriter
from export.quantize import Recipe, quantize_rows
from export.report import copy_report
from export.rounding.kept import KeptRows
from tests.conftest import TinyBundle, TinyCheckpoint

ROOT = Path(__file__).parents[3]
FULL = Path("/dev/full")  # a disk without room, for whoever writes to it
UNREADABLE = Path("/proc/self/mem")  # a file that opens, and whose first byte cannot be read


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("below", ["bundle", "folder/bundle"])
def test_an_out_below_a_file_is_named(
    below: str, tiny_checkpoint: TinyCheckpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there is a file, no folder can be made for the bundle."""
    file = tmp_path / "file"
    file.write_text("somebody's")
    assert main([str(tiny_checkpoint("llama")), "--out", str(file / below)]) == 1
    assert last_line(capsys).startswith(f"export: {file}")
    assert file.read_text() == "somebody's"


def test_a_report_below_a_file_is_refused_before_the_work(
    tiny_checkpoint: TinyCheckpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--report-to` is looked at first: no stage has run."""
    file = tmp_path / "file"
    file.write_text("")
    arguments = ["--out", str(tmp_path / "out"), "--report-to", str(file / "folder" / "stem")]
    assert main([str(tiny_checkpoint("llama")), *arguments]) == 1
    assert capsys.readouterr().err == f"export: {file / 'folder'}: Not a directory\n"


def test_a_comparison_into_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`compare --out` on a file."""
    file = tmp_path / "file"
    file.write_text("")
    assert main(["compare", "a", "b", "--out", str(file)]) == 1
    assert capsys.readouterr().err == f"export: {file}: File exists\n"


def test_weights_that_cannot_be_read_are_named(
    tiny_checkpoint: TinyCheckpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file opens and then gives an error, as on a failing disk."""
    folder = tmp_path / "source"
    shutil.copytree(tiny_checkpoint("llama"), folder)
    weights = folder / "model.safetensors"
    weights.unlink()
    weights.symlink_to(UNREADABLE)
    assert main([str(folder), "--out", str(tmp_path / "out")]) == 1
    assert last_line(capsys) == f"export: {weights}: Input/output error"


def test_a_full_disk_is_told_by_the_file_that_is_written(tmp_path: Path) -> None:
    """Weights, and what was rounded before them: an open file's errors have no name of their own."""
    (tmp_path / DATA_FILE).symlink_to(FULL)
    writer = GraphWriter(tmp_path)
    with pytest.raises(OSError, match="No space left") as full:
        writer.weight("w", (1 << 20,), [np.zeros(1 << 20, np.float32)])
    assert reason(full.value) == f"{tmp_path / DATA_FILE}: No space left on device"
    (tmp_path / "0.codes").symlink_to(FULL)
    packed = quantize_rows(np.ones((4, 128), np.float32), Recipe.named("int4").bits, 128)
    with pytest.raises(OSError, match="No space left") as full:
        KeptRows(tmp_path).keep("w", 128, 4, [packed])
    assert reason(full.value) == f"{tmp_path / '0'}: No space left on device"


def test_a_copy_of_the_report_that_finds_no_room_is_named(
    tiny_bundle: TinyBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The copy's name is in the line."""
    (tmp_path / "stem.html").symlink_to(FULL)

    def command() -> int:
        copy_report(tiny_bundle("llama"), tmp_path / "stem")
        return 0

    assert run("export", command) == 1
    line = last_line(capsys)
    assert line.startswith("export: ")
    assert line.endswith("stem.html: No space left on device")


def test_an_error_without_a_number_is_told_in_its_own_words(capsys: pytest.CaptureFixture[str]) -> None:
    """Libraries raise them with a text alone; one of two files names both."""
    assert reason(OSError("cannot reach it\nat all")) == "cannot reach it"
    assert reason(OSError(errno.EXDEV, "Invalid cross-device link", "a", None, "b")).startswith("a -> b: ")
    assert reason(ConnectionError()) == "ConnectionError"


def test_an_interrupted_command_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C asks for no traceback."""

    def command() -> int:
        raise KeyboardInterrupt

    assert run("export.quality", command) == 1
    assert capsys.readouterr().err == "export.quality: interrupted\n"


@pytest.mark.parametrize(("said", "code"), [("print('done') or 0", 0), ("print('half', flush=True) or 0", 1)])
def test_an_output_that_nobody_reads_on(said: str, code: int) -> None:
    """`| head`: no word of it on stderr; what was done by then is done, and what was not is not."""
    reader, writer = os.pipe()
    os.close(reader)
    command = f"from export.command import run; raise SystemExit(run('export', lambda: {said}))"
    ended = subprocess.run(
        [sys.executable, "-E", "-c", command], stdout=writer, stderr=subprocess.PIPE, cwd=ROOT, timeout=60
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (code, b"")
