"""What was freed is given back when it is asked for."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import numpy as np, sys
from export.memory import give_back_large_arrays, large_arrays_kept, give_back

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20

give_back_large_arrays()
before = resident()
with large_arrays_kept():
    held = [np.ones(8 << 20, np.uint8) for _ in range(16)]
    del held
    kept = resident() - before
    give_back()
    given = resident() - before
print(kept > 100, given < 20)
"""


def test_freed_arrays_are_kept_and_then_given_back() -> None:
    """Within the block freed arrays stay for the next ones, until they are given back."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]
