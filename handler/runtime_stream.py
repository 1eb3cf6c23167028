"""One streamed answer on its way to the Runtime API: its head, its chunks, its trailers, and its end.

Owns what Lambda allows an answer: how much of it, and until when somebody may take to read it. Knows neither
awslambdaric nor what the answer says.

Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html#runtimes-custom-response-streaming
"""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from itertools import chain

JOINED = "dormouse.joined"
"""What an event has when its answer is read whole: a stream is joined, and has a whole answer's time."""

PRELUDE_END = b"\0" * 8
"""What is between a streamed answer's status and headers, as JSON, and its body.

Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html
"""

STREAM_TYPE = "application/vnd.awslambda.http-integration-response"
ERROR_TYPE = "Lambda-Runtime-Function-Error-Type"
ERROR_BODY = "Lambda-Runtime-Function-Error-Body"

# Source: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html. The first is, to the byte,
# what Lambda names when it refuses an answer: 6 MiB and a hundred.
BUFFERED_LIMIT_BYTES = 6_291_556
STREAMED_LIMIT_BYTES = 200 << 20

CLOSING_S = 0.4
"""Kept back of an invocation's time, for closing an answer that nobody reads: it may have a turn to store."""

SHORTEST_WAIT_S = 0.05
"""An answer that ends by its own deadline gets its last words out after that."""

REPLY_S = 2.0
"""All is sent and stored when the Runtime API's reply is waited for, so that nothing is saved by haste."""

log = logging.getLogger("handler.runtime")


class AnswerTooLarge(Exception):
    """Lambda does not take an answer of this size; told to it as the invocation's error instead."""


@dataclass(frozen=True)
class Stream:
    """An answer under way: its first chunk is there, so the handler has got past its first mistakes."""

    first: bytes
    rest: Generator[bytes, None, None]


@dataclass(frozen=True)
class Asked:
    """What an answer is for: the invocation's two ids, and when its time is up, in Unix seconds."""

    invoke_id: str
    invocation_id: str | None
    until_s: float

    def patience_s(self) -> float:
        """How long the other end may take to read on, from now."""
        return max(SHORTEST_WAIT_S, self.until_s - CLOSING_S - time.time())


def error_trailers(error: Exception) -> bytes:
    """What follows the last chunk of an answer that broke off."""
    report = {"errorMessage": str(error), "errorType": type(error).__name__, "stackTrace": []}
    body = base64.b64encode(json.dumps(report).encode()).decode()
    return f"{ERROR_TYPE}: {type(error).__name__}\r\n{ERROR_BODY}: {body}\r\n".encode()


def open_response(connection: HTTPConnection, asked: Asked) -> None:
    """Send the head of a streamed answer."""
    headers = {
        "Content-Type": STREAM_TYPE,
        "Lambda-Runtime-Function-Response-Mode": "streaming",
        "Transfer-Encoding": "chunked",
        "Trailer": f"{ERROR_TYPE}, {ERROR_BODY}",
    }
    if asked.invocation_id:
        headers["Lambda-Runtime-Invocation-Id"] = asked.invocation_id
    connection.putrequest("POST", f"/2018-06-01/runtime/invocation/{asked.invoke_id}/response")
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()


def encoded(stream: Stream) -> Iterator[bytes]:
    """The body in chunks, as they come; an answer that breaks off says so in the trailers.

    Source: RFC 9112, section 7.1.
    """
    trailers, size_bytes = b"", 0
    try:
        for data in chain([stream.first], stream.rest):
            size_bytes += len(data)
            if size_bytes > STREAMED_LIMIT_BYTES:
                raise AnswerTooLarge(f"a streamed answer has at most {STREAMED_LIMIT_BYTES} bytes")
            if data:  # an empty chunk would end the body
                yield b"%x\r\n%b\r\n" % (len(data), data)
    except Exception as error:
        log.exception("the answer broke off")
        trailers = error_trailers(error)
    yield b"0\r\n" + trailers + b"\r\n"


def stop(generator: Generator[bytes, None, None]) -> None:
    """Close a generator, whose cleaning up may fail without taking the environment down."""
    try:
        generator.close()
    except Exception:
        log.exception("an answer could not be closed")


def post_stream(address: str, asked: Asked, stream: Stream) -> None:
    """Post a streamed answer; whatever happens, the generator is closed, so that generation stops.

    Raises: RuntimeError when the Runtime API says that this environment is beyond repair.
    """
    connection = HTTPConnection(address, timeout=asked.patience_s())
    try:
        open_response(connection, asked)
        for piece in encoded(stream):
            # A slow reader blocks here, and with it the generator: while there is time, and no longer.
            connection.sock.settimeout(asked.patience_s())
            connection.send(piece)
        connection.sock.settimeout(max(REPLY_S, asked.patience_s()))
        reply = connection.getresponse()
        said = reply.read().decode("utf-8", "replace")
    except (OSError, HTTPException) as error:
        log.warning("the client has gone before the end of its answer (%s)", type(error).__name__)
        return
    finally:
        connection.close()
        stop(stream.rest)
    if reply.status >= 500:
        raise RuntimeError(f"the Runtime API answered {reply.status}: {said}")
    if reply.status >= 400:
        log.error("the Runtime API refused the answer with %d: %s", reply.status, said)
