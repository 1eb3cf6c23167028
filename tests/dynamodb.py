"""DynamoDB-protocol servers as real processes on loopback, one for the whole test run."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CLOUD_BIN = Path(__file__).parents[1] / ".venv/cloud/bin"
START_TIMEOUT_S = 60.0

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""What any AWS client needs to talk to these servers; they check none of it."""


@contextmanager
def ministack(log: Path, services: str = "dynamodb") -> Iterator[str]:
    """Run ministack with these services, comma-separated; yield its URL."""
    port = free_port()
    environment = {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "SERVICES": services,
        "PERSIST_STATE": "0",
        "SFTP_ENABLED": "0",  # these two would listen beyond loopback
        "IOT_MTLS_ENABLED": "0",
    }
    with _serving([str(CLOUD_BIN / "ministack")], environment, port, log) as url:
        yield url


@contextmanager
def moto(log: Path) -> Iterator[str]:
    """Run moto's server, a second and independent reading of the protocol; yield its URL."""
    port = free_port()
    with _serving([str(CLOUD_BIN / "moto_server"), "-H", "127.0.0.1", "-p", str(port)], {}, port, log) as url:
        yield url


_given: set[int] = set()


def free_port() -> int:
    """Find a port that nobody listens on, and that nobody was given before: some are bound much later.

    It is below those that an operating system gives out by itself, which may give out a free one meanwhile.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                return port


@contextmanager
def _serving(command: list[str], environment: dict[str, str], port: int, log: Path) -> Iterator[str]:
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            env=os.environ | CREDENTIALS | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )
    try:
        _await_answer(url, server, log)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _die_with_parent() -> None:
    """Have the kernel end the server when the test run is killed; Linux's PR_SET_PDEATHSIG is 1."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _await_answer(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    give_up_s = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError:
            return  # it speaks HTTP
        except OSError:
            if server.poll() is not None or time.monotonic() > give_up_s:
                raise RuntimeError(f"the server at {url} did not start:\n{log.read_text()}") from None
            time.sleep(0.05)
