"""What the bench's commands say where nothing can be measured: options that are wrong, contenders that are
not there.
"""

import json
import os
import subprocess
import sys

import pytest

from bench.__main__ import main as bench
from bench.load.__main__ import main as load
from bench.overhead import main as overhead
from bench.sizing.__main__ import main as sizing
from tests.stack import PROJECT


@pytest.mark.parametrize(
    ("main", "arguments", "said"),
    [
        (bench, ["--shapes", "gpt2,gpt9"], "gpt9: unknown; known are "),
        (bench, ["--rounds", "0"], "0: not a whole number of 1 or more"),
        (bench, ["--threads", "x"], "x: not a whole number of 1 or more"),
        (bench, ["--report", "missing.json"], "missing.json: not a saved run: [Errno 2]"),
        (bench, ["--report", "other.json"], "other.json: not a saved run"),
        (overhead, ["--shapes", "gpt9"], "gpt9: unknown; known are smollm2-135m"),
        (load, ["--bundle", "."], ".: no bundle is there"),
        (load, ["--environments", "0"], "0: not a whole number of 1 or more"),
        (sizing, ["measure", "--bundle", "a=."], ".: no bundle is there"),
        (sizing, ["measure", "--bundle", "folder"], "folder: wanted is NAME=FOLDER"),
    ],
)
def test_a_wrong_option_is_told_in_a_line(main, arguments, said, tmp_path, monkeypatch, capsys):
    """Its value stands in the last line, with what is wrong about it."""
    (tmp_path / "other.json").write_text("[]")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_rows_of_two_machines_do_not_share_a_file(tmp_path, capsys):
    """The page names one machine and one commit for all of them."""
    (tmp_path / "bundle.json").write_text("{}")
    rows = tmp_path / "sizing.json"
    rows.write_text(json.dumps({"machine": {"cpu": "CPU 1", "load": 0.1}, "bundles": {}}))
    before = rows.read_text()
    assert sizing(["measure", "--bundle", f"a={tmp_path}", "--out", str(rows)]) == 1
    assert "of another machine or commit" in capsys.readouterr().err
    assert rows.read_text() == before


def test_a_run_without_contenders_says_why(tmp_path):
    """Where none of those that were asked for is installed, the report names them, and the run has failed."""
    command = [sys.executable, "-m", "bench", "--only", "llama-pure", "--shapes", "gpt2", "--rounds", "1"]
    there = os.environ | {"PYTHONPATH": str(PROJECT)}
    run = subprocess.run(command, cwd=tmp_path, env=there, capture_output=True, text=True, timeout=240)
    assert run.returncode == 1, run.stderr
    (report,) = (tmp_path / "build/bench").glob("*.md")
    assert "- llama.cpp Q4_0 pure: .venv/bench-llama is not installed" in report.read_text()
