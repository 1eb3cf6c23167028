"""The runtime as a real process, in front of the tests' own Runtime API."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.contract.runtime.runtime_api import RuntimeApi

PROJECT = Path(__file__).resolve().parents[3]
FUNCTION = "tests.contract.runtime.scripted_function.handler"
MODULE_START = (sys.executable, "-m", "awslambdaric", FUNCTION)


class Environment:
    """One execution environment: the Runtime API and the process that talks to it."""

    def __init__(self, api: RuntimeApi, process: subprocess.Popen[bytes], log: Path) -> None:
        self.api = api
        self.process = process
        self.log = log

    def opened(self) -> list[str]:
        """What its files and sockets are, as Linux names them."""
        found = []
        for descriptor in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                found.append(str(descriptor.readlink()))
        return found

    def status(self, name: str) -> int:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


@contextmanager
def started(api: RuntimeApi, command: tuple[str, ...], log: Path, **variables: str) -> Iterator[Environment]:
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "DORMOUSE_"))},
        "AWS_LAMBDA_RUNTIME_API": api.address,
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "LAMBDA_TASK_ROOT": str(PROJECT),
        "_HANDLER": FUNCTION,
        **variables,
    }
    wrapper = str(PROJECT / "handler" / "runtime.sh")
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [wrapper, *command], env=environ, stdout=sink, stderr=subprocess.STDOUT, cwd="/"
        )
    try:
        yield Environment(api, process, log)
    finally:
        process.kill()
        process.wait()
        api.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Environment]]:
    """Start an environment; at the end of the test its protocol must not have been breached."""
    apis: list[RuntimeApi] = []
    with ExitStack() as stack:

        def begin(*command: str, api: RuntimeApi | None = None, **variables: str) -> Environment:
            apis.append(api or RuntimeApi())
            log = tmp_path / f"log-{len(apis)}"
            return stack.enter_context(started(apis[-1], command or MODULE_START, log, **variables))

        yield begin
    assert [breach for api in apis for breach in api.breaches] == []
