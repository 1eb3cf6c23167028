"""The instruction set's name: ONNX Runtime's order of preference, on any machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from handler.engine import cpu

AVX512 = "avx2 fma avx512f avx512bw avx512dq avx512vl"
NAMES = [
    ("x86_64", f"{AVX512} avx512_vnni avx_vnni", "x86_64 avx512-vnni"),
    ("x86_64", f"{AVX512} avx_vnni", "x86_64 avx512"),  # 512-bit kernels are chosen before AVX-VNNI's
    ("x86_64", "avx2 fma avx512f avx512_vnni", "x86_64 avx2"),  # without BW, DQ and VL there are no others
    ("x86_64", "avx2 fma avx_vnni", "x86_64 avx2-vnni"),
    ("x86_64", "sse2 avx2 fma", "x86_64 avx2"),
    ("x86_64", "sse2 avx", "x86_64 sse"),
    ("aarch64", "asimd asimddp i8mm sve", "aarch64 i8mm sve"),
    ("aarch64", "asimd asimddp i8mm", "aarch64 i8mm"),
    ("aarch64", "asimd asimddp", "aarch64 dotprod"),
    ("aarch64", "fp asimd", "aarch64 neon"),
    ("aarch64", "", "aarch64"),
    ("riscv64", "avx2", "riscv64"),
]


@pytest.mark.parametrize(("machine", "flags", "name"), NAMES)
def test_the_best_level_that_is_whole_names_it(machine: str, flags: str, name: str) -> None:
    """Every flag of a level has to be there, and better levels come first."""
    assert cpu.name_of(machine, flags.split()) == name


@pytest.fixture
def unread() -> None:
    """Nothing read before, here or by other tests."""
    cpu.flags.cache_clear()
    cpu.instruction_set.cache_clear()


@pytest.mark.parametrize("key", ["flags\t\t", "Features\t"])
def test_flags_are_the_first_processors(
    key: str, unread: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both architectures' words for the list are read, and other lines are not."""
    listed = tmp_path / "cpuinfo"
    listed.write_text(f"processor\t: 0\nvmx flags\t: ept\n{key}: fp asimd\n\n{key}: other\n")
    monkeypatch.setattr(cpu, "CPUINFO", listed)
    assert cpu.flags() == {"fp", "asimd"}
    cpu.flags.cache_clear()


def test_a_machine_without_the_list_still_has_a_name(
    unread: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no /proc the name is the architecture."""
    monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "absent")
    assert cpu.instruction_set() == os.uname().machine
    cpu.flags.cache_clear()
    cpu.instruction_set.cache_clear()
