"""HTTP -> the events that API Gateway would send -> the same `lambda_handler`, as an ASGI application.

A streamed answer leaves chunk by chunk, and a client that hangs up closes the generator; whoever makes a
whole answer may ask to be told. With a file of keys it asks for keys, as the authorizer does in the cloud;
where it trusts its own machine, it does not trust the web pages that are open there. Knows no sockets, and
nothing of what is served.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import uuid
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs

from handler.access import check_page
from handler.doors import OPEN, PROBED, enter
from handler.errors import RequestError
from handler.key_file import KeyFile
from handler.routes.answers import error_answer
from handler.routes.events import route_method
from handler.runtime_stream import PRELUDE_END

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Handler = Callable[[dict[str, Any], Any], Any]
MAX_WAITING_REQUESTS = 64
MAX_BUFFERED_BYTES = 16 << 20
"""More than any setting allows: the handler answers a body that is too large, this only bounds memory."""
LIMIT_MS = 900_000
"""As long as Lambda would let a function run."""
PATIENCE_S = 30.0
"""So long a client may take to read on; whoever reads no more would keep the model from all others."""


class LocalContext:
    """Lambda's context object, as far as the handler looks at it, and what Lambda does not tell: that the
    client has gone."""

    def __init__(self) -> None:
        self.aws_request_id = str(uuid.uuid4())
        self._gone = Future[None]()

    def abandon(self) -> None:
        """The client has gone."""
        self._gone.set_result(None)

    def when_abandoned(self, act: Callable[[], None]) -> None:
        """Have something done as soon as the client has gone, by whichever thread."""
        self._gone.add_done_callback(lambda _: act())

    def get_remaining_time_in_millis(self) -> int:
        """Nothing stops this process but a signal, and that ends answers by itself."""
        return LIMIT_MS


class Gateway:
    """An ASGI application that plays API Gateway."""

    def __init__(
        self,
        handler: Handler,
        on_ready: Callable[[], None] = lambda: None,
        keys: KeyFile | None = None,
        *,
        trusts_machine: bool = False,
    ) -> None:
        self._handler, self._on_ready, self._keys = handler, on_ready, keys
        self._trusts_machine = trusts_machine
        self._pool = ThreadPoolExecutor(MAX_WAITING_REQUESTS, thread_name_prefix="request")
        self._probes = ThreadPoolExecutor(1, thread_name_prefix="probe")  # it never waits behind requests

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request, or the life of the server itself."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup: the signal handlers are in place, so Ctrl-C is heard from now on
        await send({"type": "lifespan.startup.complete"})
        self._on_ready()
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        body, connected = await _read_body(receive)
        if not connected:
            return
        context = LocalContext()
        event = proxy_event(scope, body, context.aws_request_id)
        try:
            if self._trusts_machine:
                check_page(event["headers"])
            if self._keys is not None and (event["httpMethod"], event["path"]) not in OPEN:
                tenant = self._keys.tenant(event["headers"].get("authorization"))
                event["requestContext"]["authorizer"] = {"tenant": tenant}
        except RequestError as error:
            await _send_buffered(error_answer(error, context.aws_request_id), send)
            return
        event = enter(event)
        pool = self._probes if event["path"] == PROBED else self._pool
        gone = asyncio.ensure_future(_until_disconnect(receive, context))
        try:
            answer = await asyncio.get_running_loop().run_in_executor(pool, self._handler, event, context)
            if isinstance(answer, Generator):
                await self._stream(answer, gone, send)
            else:
                await _send_buffered(answer, send)
        finally:
            gone.cancel()

    async def _stream(
        self, chunks: Generator[bytes, None, None], gone: asyncio.Future[None], send: Send
    ) -> None:
        # A thread of its own: those of the pool may all wait for the model that this answer holds.
        own = ThreadPoolExecutor(1, thread_name_prefix="stream")
        in_thread = functools.partial(asyncio.get_running_loop().run_in_executor, own)
        try:
            prelude = await in_thread(next, chunks)
            facts = json.loads(prelude.removesuffix(PRELUDE_END))
            await send(_start(facts["statusCode"], facts["headers"]))
            while not gone.done():
                chunk = await in_thread(next, chunks, None)
                if chunk is None:
                    await send({"type": "http.response.body", "body": b""})
                    return
                message = {"type": "http.response.body", "body": chunk, "more_body": True}
                await asyncio.wait_for(send(message), PATIENCE_S)
        except TimeoutError:
            return  # as if the client had hung up
        finally:
            await asyncio.shield(in_thread(chunks.close))
            own.shutdown(wait=False)


def proxy_event(scope: Message, body: bytes, request_id: str) -> dict[str, Any]:
    """Write an HTTP request as API Gateway's REST proxy event (payload 1.0)."""
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    method = route_method(scope["method"])
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    try:
        text, is_base64 = body.decode("utf-8"), False
    except UnicodeDecodeError:
        text, is_base64 = base64.b64encode(body).decode(), True
    return {
        "resource": "/{proxy+}",
        "path": scope["path"],
        "httpMethod": method,
        "headers": {name: values[-1] for name, values in headers.items()},
        "multiValueHeaders": headers,
        "queryStringParameters": {name: values[-1] for name, values in query.items()} or None,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "stage": "$default",
            "path": scope["path"],
            "httpMethod": method,
            "requestId": request_id,
            "identity": {"sourceIp": (scope.get("client") or ("",))[0]},
        },
        "body": text or None,
        "isBase64Encoded": is_base64,
    }


async def _read_body(receive: Receive) -> tuple[bytes, bool]:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"", False
        part = message.get("body", b"")
        if size <= MAX_BUFFERED_BYTES:
            parts.append(part)
        size += len(part)
        if not message.get("more_body"):
            return b"".join(parts), True


async def _until_disconnect(receive: Receive, context: LocalContext) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    context.abandon()


async def _send_buffered(answer: dict[str, Any], send: Send) -> None:
    body = answer.get("body") or ""
    raw = base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode()
    await send(_start(answer["statusCode"], {**answer["headers"], "Content-Length": str(len(raw))}))
    await send({"type": "http.response.body", "body": raw})


def _start(status: int, headers: dict[str, str]) -> Message:
    pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": pairs}
