"""One execution environment: a handler's process on one core, asked one request at a time.

Owns the process. Does not know who sends requests or when one is started.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

READY = b"Dormouse is awake: "
START_TIMEOUT_S = 60.0
END_TIMEOUT_S = 10.0


class DidNotStart(Exception):
    """The process ended, or said nothing, before it listened."""


@dataclass
class Environment:
    """A process that listens."""

    number: int
    port: int
    process: asyncio.subprocess.Process

    async def end(self) -> None:
        """Ctrl-C, and the kill for one that does not hear it."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGINT)
            try:
                await asyncio.wait_for(self.process.wait(), END_TIMEOUT_S)
            except TimeoutError:
                self.process.kill()
                await self.process.wait()


async def start(number: int, settings: Mapping[str, str], log: Path) -> Environment:
    """Start one on the core whose turn it is, with one thread. Raises: DidNotStart."""
    cores = sorted(os.sched_getaffinity(0))
    core = cores[number % len(cores)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DORMOUSE_")}
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            "taskset", "-c", str(core), sys.executable, "-m", "handler.local", "--port", "0",
            env={**clean, **settings, "DORMOUSE_THREADS": "1"},
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )  # fmt: skip
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), START_TIMEOUT_S)
    except TimeoutError:
        line = b""
    if not line.startswith(READY):
        if process.returncode is None:
            process.kill()
        raise DidNotStart(f"environment {number}: {line!r}; see {log}")
    port = urlsplit(line.removeprefix(READY).split()[0].decode()).port
    assert port is not None
    return Environment(number, port, process)
