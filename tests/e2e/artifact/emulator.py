"""The Lambda Runtime Interface Emulator that comes with SAM, as a process in front of a function."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.dynamodb import free_port
from tests.stack import PROJECT

INVOCATIONS = "2015-03-31/functions/function/invocations"


def emulator_binary() -> Path:
    """The emulator for this machine, inside the aws-sam-cli package."""
    arch = {"x86_64": "x86_64", "aarch64": "arm64"}[os.uname().machine]
    (found,) = (PROJECT / ".venv/cloud/lib").glob(f"python3*/site-packages/samcli/local/rapid/*-rie-{arch}")
    return found


@contextmanager
def emulated(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path, port: int | None = None
) -> Iterator[str]:
    """Run a function's start command; yield the URL that takes invocations."""
    door = f"127.0.0.1:{port or free_port()}"
    addresses = [
        f"--runtime-interface-emulator-address={door}",
        f"--runtime-api-address=127.0.0.1:{free_port()}",
    ]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [emulator_binary(), *addresses, *command],
            env=dict(environment),
            cwd=folder,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_it_listens(f"http://{door}", process, log)
        yield f"http://{door}/{INVOCATIONS}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def invoke(url: str, event: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Status and headers, and the body; the emulator gathers a stream before it hands it on."""
    with urllib.request.urlopen(
        urllib.request.Request(url, json.dumps(event).encode()), timeout=120
    ) as reply:
        answer: bytes = reply.read()
    head, streamed, body = answer.partition(b"\0" * 8)
    parsed: dict[str, Any] = json.loads(head)
    return parsed, body.decode() if streamed else parsed["body"]


def _wait_until_it_listens(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up_s = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < give_up_s, log.read_text()
            time.sleep(0.05)
