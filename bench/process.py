"""A contender's process as the harness sees it: started, asked, stopped in its tracks, ended.

Owns pipes, signals and deadlines. Does not know what is asked, or any runtime.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

ENDING_S = 10.0


class WorkerFailed(Exception):
    """The process died, went silent, or answered that it could not do it."""


class NotSupported(Exception):
    """The contender has no such ability."""


class WorkerProcess:
    """One worker; `started_s` is the clock just before its process was made."""

    def __init__(
        self, command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        with log.open("ab") as errors:
            self.started_s = perf_counter()
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **(environment or {})},
                bufsize=0,
            )
        self._unread = b""

    def ask(self, op: str, *, timeout_s: float, **arguments: Any) -> Any:
        """Send one request and wait for its reply.

        Raises: NotSupported; WorkerFailed with the worker's own message, or the end of its log.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"op": op, **arguments}).encode() + b"\n")
        except BrokenPipeError:
            raise WorkerFailed(self._obituary(op)) from None
        reply = json.loads(self._line(op, timeout_s))
        if "unsupported" in reply:
            raise NotSupported(reply["unsupported"])
        if "error" in reply:
            raise WorkerFailed(f"{op}: {reply['error']}")
        return reply["ok"]

    def pause(self) -> None:
        """Take the processor away from it: threads that spin while they wait would slow the others.

        A process that has ended has none, and no other that has got its number is stopped.
        """
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it run again."""
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it; a stopped process ends as well."""
        if self._process.poll() is None:
            self.resume()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _line(self, op: str, timeout_s: float) -> bytes:
        assert self._process.stdout is not None
        deadline = perf_counter() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(max(0.0, deadline - perf_counter())):
                    raise WorkerFailed(f"{op}: no answer within {timeout_s:.0f} s")
                chunk = self._process.stdout.read(1 << 16)
                if not chunk:
                    raise WorkerFailed(self._obituary(op))
                self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _obituary(self, op: str) -> str:
        code = self._process.wait()
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return f"{op}: the process ended with code {code}: {lines[-1] if lines else 'nothing in its log'}"
