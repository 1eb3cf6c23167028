"""A real S3-protocol server behind a bad line: what it answers is passed on, or spoiled as a test has it.

Knows HTTP and the ranges that are asked for; nothing of bundles.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from urllib.parse import urlsplit

from tests.loopback import Quiet, serving


@dataclass(frozen=True)
class Asked:
    """A request: the object's name, where its range begins, and how many times that was asked for before."""

    name: str
    start: int
    before: int
    if_match: str | None


@dataclass
class Answer:
    """What the server said, to be spoiled."""

    status: int
    headers: dict[str, str]
    body: bytes
    cut_after: int | None = None  # bytes: then the connection is reset
    pause_s: float = 0.0  # after each KiB of the body


Spoil = Callable[[Asked, Answer], None]


class FaultyS3:
    """The line. `spoil` may change any answer to a GET; `asked` is what came."""

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream)
        self.spoil: Spoil = lambda asked, answer: None
        self.asked: list[Asked] = []
        self.connections = 0
        self.lock = threading.Lock()
        self.url = ""  # where it is served

    def note(self, path: str, headers: dict[str, str]) -> Asked:
        name = path.rpartition("/")[2]
        begins = re.match(r"bytes=(\d+)-", headers.get("range", ""))
        start = int(begins[1]) if begins else 0
        with self.lock:
            before = sum(1 for each in self.asked if (each.name, each.start) == (name, start))
            self.asked.append(Asked(name, start, before, headers.get("if-match")))
            return self.asked[-1]


@contextmanager
def faulty_s3(upstream: str) -> Iterator[FaultyS3]:
    line = FaultyS3(upstream)
    with serving(type("BoundLine", (Line,), {"line": line})) as address:
        line.url = f"http://{address}"
        yield line


class Line(Quiet):
    """One connection."""

    line: FaultyS3
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        with self.line.lock:
            self.line.connections += 1

    def do_GET(self) -> None:
        asked = self.line.note(self.path, {name.lower(): value for name, value in self.headers.items()})
        answer = self.upstream_answer()
        self.line.spoil(asked, answer)
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.send_body(answer)

    def upstream_answer(self) -> Answer:
        connection = HTTPConnection(str(self.line.upstream.hostname), self.line.upstream.port)
        connection.request("GET", self.path, headers=dict(self.headers.items()))
        reply = connection.getresponse()
        body = reply.read()
        connection.close()
        left_out = ("transfer-encoding", "connection", "content-length")
        headers = {name: value for name, value in reply.getheaders() if name.lower() not in left_out}
        return Answer(reply.status, {**headers, "Content-Length": str(len(body))}, body)

    def send_body(self, answer: Answer) -> None:
        try:
            if answer.pause_s:
                for at in range(0, len(answer.body), 1024):
                    self.wfile.write(answer.body[at : at + 1024])
                    time.sleep(answer.pause_s)
            else:
                self.wfile.write(answer.body[: answer.cut_after])
        except OSError:
            answer.cut_after = 0  # the client did not wait
        if answer.cut_after is not None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
