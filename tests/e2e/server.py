"""Starting and ending a server process, and the clients that talk to it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import openai

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 60.0
END_TIMEOUT_S = 30.0
READY = "Dormouse is awake: "


class Server:
    """`python -m handler.local`, or another module, as a process of its own; use it as a context manager."""

    def __init__(
        self,
        bundle: Path,
        sessions: Path,
        log: Path,
        environment: dict[str, str] | None = None,
        arguments: Sequence[str] = (),
        module: str = "handler.local",
    ) -> None:
        self.url = ""
        self.log = log
        self._command = [sys.executable, "-m", module, "--port", "0"]
        self._command += ["--bundle", str(bundle), "--sessions", str(sessions), *arguments]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("DORMOUSE_")}
        self._environment = {**clean, **(environment or {})}
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Server:
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        line = self._first_line()
        assert line.startswith(READY), f"{line!r}; {self.log.read_text()}"
        self.url = line.removeprefix(READY).split()[0]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.interrupt()

    @property
    def process(self) -> subprocess.Popen[str]:
        """The process; it has been started."""
        assert self._process is not None
        return self._process

    def interrupt(self) -> int:
        """Do as Ctrl-C does, and return the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(END_TIMEOUT_S)

    def kill(self) -> None:
        """End it without warning, as a power failure would."""
        self.process.kill()
        self.process.wait(END_TIMEOUT_S)

    def client(self, **options: Any) -> openai.OpenAI:
        """OpenAI's own client for it."""
        settings = {"max_retries": 0, "timeout": 120.0, **options}
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", **settings)

    def _first_line(self) -> str:
        stdout = self.process.stdout
        assert stdout is not None
        end = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < end:
            if select.select([stdout], [], [], 0.2)[0]:
                return stdout.readline()
            if self.process.poll() is not None:
                break
        return ""
