"""HTTP on this machine -> the events that API Gateway would send -> the same `lambda_handler`.

    python -m handler.local [--host 127.0.0.1] [--port 8080] [--bundle FOLDER] [--sessions FILE] [--keys FILE]

Knows sockets (by uvicorn) and the event's shape; what is served is none of its business. A streamed answer
leaves chunk by chunk, and a client that hangs up closes the generator. Where other machines can reach it, it
asks for keys, as the authorizer does in the cloud.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import ipaddress
import json
import os
import socket
import sys
import uuid
from collections.abc import Awaitable, Callable, Generator, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from handler.errors import StartupError, Unauthorized
from handler.key_file import KeyFile
from handler.routes.answers import PRELUDE_END, error_answer

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Handler = Callable[[dict[str, Any], Any], Any]
MAX_WAITING_REQUESTS = 64
MAX_BUFFERED_BYTES = 16 << 20
"""More than any setting allows: the handler answers a body that is too large, this only bounds memory."""
LIMIT_MS = 900_000
"""As long as Lambda would let a function run."""
THE_PAGE = ("GET", "/")
"""Open to everyone, as in template.yaml: a browser has no key before the page has asked for one."""


class LocalContext:
    """Lambda's context object, as far as the handler looks at it."""

    def __init__(self) -> None:
        self.aws_request_id = str(uuid.uuid4())

    def get_remaining_time_in_millis(self) -> int:
        """Nothing stops a local process."""
        return LIMIT_MS


class Gateway:
    """An ASGI application that plays API Gateway."""

    def __init__(
        self, handler: Handler, on_ready: Callable[[], None] = lambda: None, keys: KeyFile | None = None
    ) -> None:
        self._handler, self._on_ready, self._keys = handler, on_ready, keys
        self._pool = ThreadPoolExecutor(MAX_WAITING_REQUESTS, thread_name_prefix="request")

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
            if self._keys is not None and (event["httpMethod"], event["path"]) != THE_PAGE:
                tenant = self._keys.tenant(event["headers"].get("authorization"))
                event["requestContext"]["authorizer"] = {"tenant": tenant}
        except Unauthorized as error:
            await _send_buffered(error_answer(error, context.aws_request_id), send)
            return
        answer = await self._in_thread(self._handler, event, context)
        if isinstance(answer, Generator):
            await self._stream(answer, receive, send)
        else:
            await _send_buffered(answer, send)

    async def _stream(self, chunks: Generator[bytes, None, None], receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_until_disconnect(receive))
        try:
            prelude = await self._in_thread(next, chunks)
            facts = json.loads(prelude.removesuffix(PRELUDE_END))
            await send(_start(facts["statusCode"], facts["headers"]))
            while not gone.done():
                chunk = await self._in_thread(next, chunks, None)
                if chunk is None:
                    await send({"type": "http.response.body", "body": b""})
                    return
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        finally:
            gone.cancel()
            await asyncio.shield(self._in_thread(chunks.close))

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)


def proxy_event(scope: Message, body: bytes, request_id: str) -> dict[str, Any]:
    """Write an HTTP request as API Gateway's REST proxy event (payload 1.0)."""
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    try:
        text, is_base64 = body.decode("utf-8"), False
    except UnicodeDecodeError:
        text, is_base64 = base64.b64encode(body).decode(), True
    return {
        "resource": "/{proxy+}",
        "path": scope["path"],
        "httpMethod": scope["method"],
        "headers": {name: values[-1] for name, values in headers.items()},
        "multiValueHeaders": headers,
        "queryStringParameters": {name: values[-1] for name, values in query.items()} or None,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "stage": "$default",
            "path": scope["path"],
            "httpMethod": scope["method"],
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


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_buffered(answer: dict[str, Any], send: Send) -> None:
    body = answer.get("body") or ""
    raw = base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode()
    await send(_start(answer["statusCode"], {**answer["headers"], "Content-Length": str(len(raw))}))
    await send({"type": "http.response.body", "body": raw})


def _start(status: int, headers: dict[str, str]) -> Message:
    pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": pairs}


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted."""
    options = _options(arguments)
    os.environ.setdefault("DORMOUSE_STREAMING", "1")
    os.environ.setdefault("DORMOUSE_GATEWAY_TIMEOUT_S", "900")  # no gateway in front of us gives up earlier
    for name in ("bundle", "sessions"):
        if getattr(options, name) is not None:
            os.environ[f"DORMOUSE_{name.upper()}"] = getattr(options, name)
    try:
        keys = _keys(options.host, options.keys)
        listener = _listen(options.host, options.port)
    except StartupError as error:
        print(f"dormouse: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        reason = error.strerror or str(error)
        print(f"dormouse: cannot listen on {options.host}:{options.port}: {reason}", file=sys.stderr)
        return 1
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how this is ended; uvicorn has tidied up by then
        from handler.function import lambda_handler  # here: it reads the environment and loads the model

        _serve(listener, lambda_handler, options.host, keys)
    print("Dormouse is asleep.", flush=True)
    return 0


def _keys(host: str, path: Path | None) -> KeyFile | None:
    if path is None and not _is_loopback(host):
        raise StartupError(
            f"{host} can be reached from other machines, so keys are asked for: give their file with --keys; "
            "`python -m infra.keys --file FILE issue --tenant NAME` makes one"
        )
    return None if path is None else KeyFile(path)


def _serve(listener: socket.socket, handler: Handler, host: str, keys: KeyFile | None) -> None:
    import uvicorn

    port = listener.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host

    def announce() -> None:
        print(f"Dormouse is awake: http://{shown}:{port}  (Ctrl-C to stop)", flush=True)

    config = uvicorn.Config(
        Gateway(handler, announce, keys),
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    uvicorn.Server(config).run(sockets=[listener])


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m handler.local", description="Serve on this machine.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", default=8080, type=_port, help="0 takes a free one (default: %(default)s)")
    parser.add_argument(
        "--bundle", help="folder or s3://bucket/prefix of the model's bundle (default: the embedded one)"
    )
    parser.add_argument("--sessions", help="SQLite file of the conversations, or `dynamodb`")
    parser.add_argument(
        "--keys", type=Path, help="file of the API keys; needed where other machines can reach --host"
    )
    return parser.parse_args(arguments)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port number from 0 to 65535")
    return int(text)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


if __name__ == "__main__":
    sys.exit(main())
