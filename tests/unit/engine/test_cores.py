"""How many threads a model is given where nobody says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from handler.engine.ort import usable_cores

SHOWN = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", SHOWN),
        ("50000 100000", 1),
        ("100000 100000", 1),
        ("190000 100000", 1),
        ("200000 100000", min(2, SHOWN)),
        ("100000000 100000", SHOWN),
        ("", SHOWN),
    ],
)
def test_a_quota_counts_in_whole_cores(tmp_path: Path, quota: str, cores: int) -> None:
    """A container that may use one core's time has one, however many its host shows."""
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert usable_cores(tmp_path / "cpu.max") == cores


def test_without_a_container_all_cores_are_usable(tmp_path: Path) -> None:
    """No quota file, no quota."""
    assert usable_cores(tmp_path / "cpu.max") == SHOWN
