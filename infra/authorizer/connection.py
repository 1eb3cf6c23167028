"""One kept connection to a service that speaks AWS's JSON protocol; knows no signatures and no operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

TIMEOUT_S = 1.0
ATTEMPTS = 3
"""A warm environment's connection may have been closed at the other end meanwhile."""


class Unreachable(Exception):
    """A service could not be asked: nobody is admitted, and nobody is told that a key is wrong."""


class Connection:
    """Posts to one endpoint, again where that may help."""

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        make = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self.host = parts.netloc
        self._connection = make(parts.hostname or "", parts.port, timeout=TIMEOUT_S)

    def post(self, body: bytes, headers: Callable[[], Mapping[str, str]]) -> tuple[int, bytes]:
        """Status and body of the answer, whose headers are made anew each time. Raises: Unreachable."""
        problem: object = None
        for _ in range(ATTEMPTS):
            try:
                self._connection.request("POST", "/", body, dict(headers()))
                reply = self._connection.getresponse()
                said = reply.read()
            except (OSError, HTTPException) as error:
                self._connection.close()
                problem = error
                continue
            if reply.status < 500:
                return reply.status, said
            problem = f"status {reply.status}"
        raise Unreachable(f"{self.host} does not answer: {problem}")
