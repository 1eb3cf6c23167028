"""A small, strict Lambda Runtime API: queues invocations, checks every byte that the runtime sends back.

Follows what AWS publishes and nothing else; a breach of the protocol is kept in `breaches`, which every test
ends by finding empty. Knows nothing of the function behind the runtime.
Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html and runtimes-custom.html
"""

from __future__ import annotations

import base64
import json
import queue
import re
import socket
import struct
import threading
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from tests.loopback import Quiet, serving

VERSION = "/2018-06-01/runtime"
INVOCATION = re.compile(rf"{VERSION}/invocation/([0-9a-f-]{{36}})/(response|error)")
STREAM_TYPE = "application/vnd.awslambda.http-integration-response"
ERROR_TYPE, ERROR_BODY = "Lambda-Runtime-Function-Error-Type", "Lambda-Runtime-Function-Error-Body"
DEADLINE_S = 60
TRACE_ID = "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0"

# Source: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html; the first to the byte is
# in the message of Lambda's own error, "Response payload size exceeded maximum allowed payload size".
BUFFERED_LIMIT_BYTES = 6_291_556
STREAMED_LIMIT_BYTES = 200 << 20


@dataclass
class Invocation:
    """One event and all that came back for it."""

    event: Any
    hang_up_after: int | None = None  # chunks
    read_on: threading.Event | None = None  # after the first chunk, nothing is read until it is set
    bytes_per_s: float | None = None  # how fast the answer is read
    reply_status: int = 202
    deadline_s: float = DEADLINE_S
    trace_id: str | None = TRACE_ID
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    kind: str = ""  # "buffered", "streamed", "error", "cut" by the reader, or "abandoned" by the runtime
    given_up_s: float = 0.0  # when it was abandoned, monotonic
    headers: dict[str, str] = field(default_factory=dict)
    chunks: list[bytes] = field(default_factory=list)
    trailers: dict[str, str] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def is_stalled(self) -> bool:
        return self.read_on is not None and bool(self.chunks) and not self.read_on.is_set()

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def prelude(self) -> dict[str, Any]:
        head, end, _ = self.body.partition(b"\0" * 8)
        assert end, "no prelude"
        return json.loads(head)

    @property
    def payload(self) -> bytes:
        return self.body.partition(b"\0" * 8)[2]

    @property
    def broke_off_with(self) -> dict[str, Any]:
        return json.loads(base64.b64decode(self.trailers[ERROR_BODY.lower()]))

    def wait_for(self, chunks: int = 0) -> Invocation:
        """Block until so many chunks have come, or, without a number, until the answer has ended."""
        with self.changed:
            enough = self.changed.wait_for(lambda: len(self.chunks) >= chunks > 0 or self.kind, timeout=60)
        assert enough, f"after 60 s: {len(self.chunks)} chunks, no end"
        return self

    def note(self, **changes: Any) -> None:
        with self.changed:
            for name, value in changes.items():
                setattr(self, name, value)
            self.changed.notify_all()


class RuntimeApi:
    """The server. `invoke` queues an event; the runtime's own loop fetches and answers it."""

    def __init__(self, snapstart_restores: bool = True) -> None:
        self.waiting: queue.Queue[Invocation] = queue.Queue()
        self.reset_next = 0  # how many of the next polls are cut off
        self.current: Invocation | None = None
        self.breaches: list[str] = []
        self.init_errors: list[Any] = []
        self.restore_errors: list[Any] = []
        self.asked = threading.Event()  # for its first event: the environment is ready
        self.idle = threading.Event()  # it waits for its next event and does nothing else
        self.restored = threading.Event()
        self.may_restore = threading.Event()
        if snapstart_restores:
            self.may_restore.set()
        handler = type("BoundCalls", (Calls,), {"api": self})
        self.served = ExitStack()
        self.address = self.served.enter_context(serving(handler))

    def start(self, event: Any, **how: Any) -> Invocation:
        invocation = Invocation(event, **how)
        self.waiting.put(invocation)
        return invocation

    def invoke(self, event: Any, **how: Any) -> Invocation:
        return self.start(event, **how).wait_for()

    def close(self) -> None:
        self.served.close()

    def breach(self, sentence: str) -> None:
        self.breaches.append(sentence)


class Calls(Quiet):
    """One connection of the runtime."""

    api: RuntimeApi
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.path == f"{VERSION}/invocation/next":
            self.next_invocation()
        elif self.path == f"{VERSION}/restore/next":
            self.api.restored.set()
            self.api.may_restore.wait(60)
            self.answer(200)
        else:
            self.api.breach(f"GET {self.path}")
            self.answer(404)

    def next_invocation(self) -> None:
        if (unread := self.api.current) and unread.is_stalled:
            # Its time is nearly up, and nobody reads it.
            unread.note(kind="abandoned", given_up_s=time.monotonic())
        elif unread:
            self.api.breach("the runtime asked for the next event before it had answered the last")
        self.api.asked.set()
        if self.api.reset_next:
            self.api.reset_next -= 1
            self.reset()
            return
        self.api.idle.set()
        invocation = self.api.waiting.get()
        self.api.idle.clear()
        self.api.current = invocation
        headers = {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": invocation.id,
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + invocation.deadline_s) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:123456789012:function:fn:live",
        }
        if invocation.trace_id is not None:
            headers["Lambda-Runtime-Trace-Id"] = invocation.trace_id
        self.answer(200, json.dumps(invocation.event).encode(), headers)

    def do_POST(self) -> None:
        if self.path in (f"{VERSION}/init/error", f"{VERSION}/restore/error"):
            phase = self.path.split("/")[3]
            errors = {"init": self.api.init_errors, "restore": self.api.restore_errors}
            errors[phase].append(json.loads(self.whole_body()))
            self.answer(202)
            return
        match = INVOCATION.fullmatch(self.path)
        invocation = self.api.current
        if match is None or invocation is None or match[1] != invocation.id:
            self.api.breach(f"POST {self.path} answers nothing that was asked")
            self.answer(403)
        elif match[2] == "error":
            self.conclude(invocation, "error", [self.whole_body()])
        elif self.headers.get("Lambda-Runtime-Function-Response-Mode") is None:
            self.conclude(invocation, "buffered", [self.whole_body()])
        else:
            self.streamed(invocation)

    def whole_body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def conclude(self, invocation: Invocation, kind: str, chunks: list[bytes]) -> None:
        self.api.current = None  # before the reply: the runtime may ask for the next event at once
        too_large = kind == "buffered" and sum(map(len, chunks)) > BUFFERED_LIMIT_BYTES
        try:
            self.answer(413 if too_large else invocation.reply_status)
        finally:
            headers = {name.lower(): value for name, value in self.headers.items()}
            invocation.note(kind=kind, headers=headers, chunks=chunks)

    def streamed(self, invocation: Invocation) -> None:
        for name, value in {
            "Lambda-Runtime-Function-Response-Mode": "streaming",
            "Transfer-Encoding": "chunked",
            "Content-Type": STREAM_TYPE,
        }.items():
            if self.headers.get(name) != value:
                self.api.breach(f"{name} is {self.headers.get(name)!r}, not {value!r}")
        if self.headers.get("Content-Length") is not None:
            self.api.breach("a chunked answer has a Content-Length")
        size_bytes = 0
        while data := self.next_chunk():
            size_bytes += len(data)
            with invocation.changed:
                invocation.chunks.append(data)
                invocation.changed.notify_all()
            if len(invocation.chunks) == invocation.hang_up_after:
                self.hang_up(invocation)
                return
            if invocation.read_on:
                invocation.read_on.wait(60)
                if invocation.kind == "abandoned":
                    self.close_connection = True
                    return
            if invocation.bytes_per_s:
                time.sleep(len(data) / invocation.bytes_per_s)
        if size_bytes > STREAMED_LIMIT_BYTES:
            self.api.breach(f"{size_bytes} bytes streamed")
        invocation.note(trailers=self.read_trailers())
        self.conclude(invocation, "streamed", invocation.chunks)

    def next_chunk(self) -> bytes:
        head = self.rfile.readline()
        if not re.fullmatch(rb"[0-9a-f]+\r\n", head):
            self.api.breach(f"a chunk begins with {head!r}")
            return b""
        size = int(head, 16)
        if size == 0:
            return b""
        data = self.rfile.read(size)
        if self.rfile.read(2) != b"\r\n":
            self.api.breach("a chunk does not end with CR LF")
        return data

    def read_trailers(self) -> dict[str, str]:
        announced = {name.strip().lower() for name in self.headers.get("Trailer", "").split(",")}
        trailers: dict[str, str] = {}
        while (line := self.rfile.readline()) != b"\r\n":
            name, _, value = line.decode().rstrip("\r\n").partition(": ")
            if name.lower() not in announced:
                self.api.breach(f"the trailer {name!r} was not announced")
                break
            trailers[name.lower()] = value
        if len(trailers) == 1:
            self.api.breach(f"an error needs its type and its body, not only {list(trailers)}")
        return trailers

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def hang_up(self, invocation: Invocation) -> None:
        """Reset the connection, as when the environment's other end is gone."""
        self.api.current = None
        self.reset()
        invocation.note(kind="cut", headers={name.lower(): value for name, value in self.headers.items()})
