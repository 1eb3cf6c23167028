"""Gives each request to a free environment, or starts one, or refuses: as Lambda places invocations.

An environment has one request at a time; the one that was used last is asked first, so that the others stay
idle. Bytes pass through as they come; two headers say which environment answered, and whether it was started
for this request. Knows HTTP/1.1 as far as finding the end of a request.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from bench.load.environment import DidNotStart, Environment

CHUNK_BYTES = 1 << 16
THROTTLED = (
    b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
    b"Connection: close\r\n\r\n{}"
)
BROKEN = THROTTLED.replace(b"429 Too Many Requests", b"502 Bad Gateway")


class Placement:
    """The environments that there are; no more than `limit`."""

    def __init__(self, start: Callable[[int], Awaitable[Environment]], limit: int) -> None:
        self._start, self._limit = start, limit
        self._free: list[Environment] = []
        self._all: list[Environment] = []
        self._begun = 0
        self.throttled = 0

    @property
    def started(self) -> int:
        """How many environments there have been."""
        return len(self._all)

    async def take(self) -> tuple[Environment, bool] | None:
        """A free environment and whether it is new; None where all are at work and no more may be started."""
        if self._free:
            return self._free.pop(), False
        if self._begun == self._limit:
            self.throttled += 1
            return None
        self._begun += 1
        try:
            made = await self._start(self._begun - 1)
        except DidNotStart:
            self._begun -= 1
            raise
        self._all.append(made)
        return made, True

    def give_back(self, environment: Environment) -> None:
        """It has answered."""
        self._free.append(environment)

    async def end(self) -> None:
        """End them all."""
        await asyncio.gather(*(environment.end() for environment in self._all))


async def serve(placement: Placement) -> asyncio.Server:
    """Listen on a free port of loopback."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await _place(placement, await _request(reader), writer)
        finally:
            writer.close()

    return await asyncio.start_server(connected, "127.0.0.1", 0)


async def _request(reader: asyncio.StreamReader) -> bytes:
    """A whole request, asking for the connection to be closed after its answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.rstrip(b"\r\n").split(b"\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
    body = await reader.readexactly(int(fields.get(b"content-length", b"0")))
    kept = [line for line in lines if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*kept, b"Connection: close", b"", body])


async def _place(placement: Placement, request: bytes, writer: asyncio.StreamWriter) -> None:
    try:
        taken = await placement.take()
    except DidNotStart:
        writer.write(BROKEN)
        return
    if taken is None:
        writer.write(THROTTLED)
        return
    environment, cold = taken
    try:
        await _relay(environment, cold, request, writer)
    finally:
        placement.give_back(environment)


async def _relay(environment: Environment, cold: bool, request: bytes, writer: asyncio.StreamWriter) -> None:
    answer, asked = await asyncio.open_connection("127.0.0.1", environment.port)
    try:
        asked.write(request)
        await asked.drain()
        status = await answer.readline()
        writer.write(status + b"x-environment: %d\r\nx-cold: %d\r\n" % (environment.number, cold))
        while chunk := await answer.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    finally:
        asked.close()
