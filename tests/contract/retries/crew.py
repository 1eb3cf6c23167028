"""Server processes at fixed ports, killed and replaced, and OpenAI's own client before all of them."""

from __future__ import annotations

import multiprocessing
import random
import time
import urllib.request
from pathlib import Path
from typing import Any

import httpx2
import openai

from tests.contract.retries.serving import serve
from tests.contract.sessions.stores import Place
from tests.dynamodb import free_port

START_TIMEOUT_S = 60.0
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.contract.retries.serving"])


class Crew:
    """So many servers of one place; use it as a context manager."""

    def __init__(self, place: Place, size: int, *, hold: Path | None = None) -> None:
        self.place, self._hold = place, hold
        self.ports = [free_port() for _ in range(size)]
        self._members = [self._start(port) for port in self.ports]
        self.kills = 0

    def __enter__(self) -> Crew:
        end = time.monotonic() + START_TIMEOUT_S
        for port in self.ports:
            while not _answers(port):
                assert time.monotonic() < end, "a server did not start"
                time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        for member in self._members:
            member.kill()
            member.join()

    def kill(self, number: int) -> None:
        """SIGKILL one, and put another in its place."""
        self._members[number].kill()
        self._members[number].join()
        self._members[number] = self._start(self.ports[number])
        self.kills += 1

    def client(self, *, lost: float = 0.0, **options: Any) -> openai.OpenAI:
        """A client whose every attempt reaches any of the servers, as behind a load balancer; a share of the
        answers is `lost`."""
        return openai.OpenAI(
            base_url="http://any/v1",
            api_key="none",
            http_client=httpx2.Client(transport=AnyOf(self.ports, lost)),
            **options,
        )

    def _start(self, port: int) -> Any:
        member = _forks.Process(target=serve, args=(self.place, port, self._hold))
        member.start()
        return member


class AnyOf(httpx2.BaseTransport):
    """Sends every request to one of some ports on this machine; now and then loses what comes back."""

    def __init__(self, ports: list[int], lost: float) -> None:
        self._ports, self._lost = ports, lost
        self._transport = httpx2.HTTPTransport()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Choose, and send."""
        request.url = request.url.copy_with(host="127.0.0.1", port=random.choice(self._ports))
        response = self._transport.handle_request(request)
        if random.random() < self._lost:
            response.read()  # so the server has done it all
            response.close()
            raise httpx2.ReadError("the connection was cut", request=request)
        return response

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
            return True
    except OSError:
        return False
