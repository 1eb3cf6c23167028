"""Where contenders come from: their environments under `.venv`, their files and logs under `build/bench`.

Owns paths and command lines. Does not know what contenders are asked.
"""

from __future__ import annotations

from pathlib import Path

from bench.artifacts import Facts, Unavailable, prepare
from bench.contenders import Contender
from bench.process import WorkerProcess


class Workshop:
    """Makes model files and worker processes for one shape."""

    def __init__(self, shape: str, root: Path) -> None:
        self._shape, self._root = shape, root

    def facts(self, contender: Contender) -> Facts:
        """Make what the contender loads, or find it already made.

        Raises: Unavailable when its environment or its files cannot be had.
        """
        if not contender.python.exists():
            raise Unavailable(f".venv/{contender.environment} is not installed")
        return prepare(self._shape, contender.artifact, self._root / "models", self._root / "convert.log")

    def worker(self, contender: Contender) -> WorkerProcess:
        """Start a contender's process; nothing is loaded yet."""
        return self._start(contender.python, contender.worker, f"{self._shape}.{contender.key}")

    def probe(self) -> WorkerProcess:
        """Start the bandwidth probe."""
        return self._start(Path(".venv/run/bin/python"), "bandwidth", "bandwidth")

    def _start(self, python: Path, module: str, log: str) -> WorkerProcess:
        return WorkerProcess(
            [str(python), "-m", f"bench.workers.{module}"],
            log=self._root / "logs" / f"{log}.log",
            environment={"PYTHONDONTWRITEBYTECODE": ""},  # else every start compiles what users have compiled
        )
