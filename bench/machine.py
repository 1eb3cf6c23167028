"""What the figures were measured on. Source: proc(5)."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from handler.engine import cpu

# What the contenders' kernels choose between, slowest first; what ours chose is `kernels`.
INSTRUCTION_SETS = (
    "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "amx_int8",
    "asimd", "asimddp", "i8mm", "sve",
)  # fmt: skip


def describe() -> dict[str, Any]:
    """CPU, its instruction sets, memory, system, and how busy it is right now."""
    listed, flags = cpu.CPUINFO.read_text(), cpu.flags()
    return {
        "cpu": _field(listed, "model name") or platform.processor(),
        "family": f"family {_field(listed, 'cpu family')}, model {_field(listed, 'model')}",
        "instruction_sets": [name for name in INSTRUCTION_SETS if name in flags],
        "kernels": cpu.instruction_set(),
        "cores": os.cpu_count(),
        "memory_gib": round(int(_field(Path("/proc/meminfo").read_text(), "MemTotal").split()[0]) / 2**20, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
        "commit": _commit(),
    }


def _field(text: str, name: str) -> str:
    lines = (line.partition(":") for line in text.splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == name), "")


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()
