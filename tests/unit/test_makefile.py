"""What make hands on: folders as they were named, spaces and all, and every option that was asked for."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.readme import ROOT

PLAIN = ["-m", "export", "some/model", "--out", "build/out", "--quant", "int4"]


def dry(*words: str) -> str:
    """What this `make` would run, whatever the one that runs the tests was told."""
    asked = ["make", "--dry-run", "--no-print-directory", *words]
    environment = {name: os.environ[name] for name in ("PATH", "HOME")}
    done = subprocess.run(asked, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def command(target: str, module: str, *settings: str) -> list[str]:
    """The arguments of python in the line of `target` that runs `module`; nothing is run."""
    lines = dry(target, *settings).replace("\\\n", " ").splitlines()
    (line,) = (each for each in lines if f" -m {module} " in each)
    words = shlex.split(line)
    return words[words.index("-m") :]


def test_a_model_and_its_folder_may_have_spaces_in_their_names() -> None:
    """Each is one argument."""
    found = command("bundle", "export", "MODEL=my models/one", "OUT=build/one two", "TEXT=a b.txt")
    named = ["my models/one", "--out", "build/one two", "--quant", "int4", "--text", "a b.txt"]
    assert found == ["-m", "export", *named]
    assert command("chat", "handler.local", "BUNDLE=build/one two")[-2:] == ["--bundle", "build/one two"]


def test_a_bench_has_ours_to_measure() -> None:
    """On a machine that has served nothing yet, the environment that ours run in is made first."""
    said = dry("-W", "requirements/run.txt", "bench", "PEERS=")
    assert said.index("-m venv .venv/run") < said.index("-m bench ")


def test_a_tilde_is_the_home_although_it_is_quoted() -> None:
    """Some shells leave it to the command's own."""
    found = command("bundle", "export", "MODEL=~/one", "OUT=~/two")
    assert found[2:5] == [str(Path.home() / "one"), "--out", str(Path.home() / "two")]


@pytest.mark.parametrize(
    ("setting", "arguments"),
    [
        ("QUANT=int4", []),
        ("FRONTIER=1", ["--frontier"]),
        ("FRONTIER=0", []),
        ("FRONTIER=no", []),
        ("WAY=universal", ["--way", "universal"]),
        ("CONTEXT=2048", ["--context", "2048"]),
        ("ACCEPT=only to look", ["--accept", "only to look"]),
        ("ROUNDING=nearest", ["--rounding", "nearest"]),
        ("CALIBRATION=my text", ["--calibration", "my text"]),
        ("ADAPTER=my adapter", ["--adapter", "my adapter"]),
        ("TARGET_SIZE=400 MB", ["--target-size", "400 MB"]),
        ("TARGET_KL=0.02", ["--target-kl", "0.02"]),
    ],
)
def test_what_is_asked_for_is_passed_on(setting: str, arguments: list[str]) -> None:
    """By the option of its name, and by no other."""
    assert command("bundle", "export", "MODEL=some/model", "OUT=build/out", setting) == PLAIN + arguments
