"""What an emulated interpreter needs, on a machine that lacks it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from handler.engine.cpu import name_of
from infra.arm64 import CPUINFO
from tests.stack import PROJECT


@pytest.mark.parametrize(("options", "status"), [([], 1), (["--if-possible"], 0)])
def test_what_is_missing_is_named(options: list[str], status: int, tmp_path: Path) -> None:
    """Without apt and QEMU nothing is written, and one line names the packages to install."""
    command = [sys.executable, "-m", "infra.arm64", "--out", str(tmp_path / "out"), *options]
    done = subprocess.run(command, cwd=PROJECT, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == status
    (line,) = done.stderr.splitlines()
    assert "apt" in line
    assert "qemu-user" in line
    assert not (tmp_path / "out").exists()


def test_the_emulated_processor_is_one_that_we_name() -> None:
    """What stands in /proc/cpuinfo there is the instruction set that QEMU was told to have."""
    features = next(line for line in CPUINFO.splitlines() if line.startswith("Features")).partition(":")[2]
    assert name_of("aarch64", features.split()) == "aarch64 dotprod"
