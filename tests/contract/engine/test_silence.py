"""Nothing leaves the machine that nobody asked to be sent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
OPENED = """
import os
print(*(os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")))
"""
LOADED = """
import sys
from handler.engine import load
for _ in load(sys.argv[1]).chat([{"role": "user", "content": "Hello!"}], max_tokens=4):
    pass
"""


@pytest.mark.parametrize("program", [LOADED, "import export.universal", "import bench.rows"])
def test_no_library_keeps_or_sends_reports(program: str, house_bundle: Path, tmp_path: Path) -> None:
    """A process with ONNX Runtime in it keeps nothing at home, and has no file and no socket open for it."""
    environment = {
        name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")
    }
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-B", "-c", program + OPENED, str(house_bundle)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not [path for path in tmp_path.rglob("*") if "Microsoft" in path.parts]
    assert "socket:" not in done.stdout
    assert "onnxruntime" not in done.stdout
