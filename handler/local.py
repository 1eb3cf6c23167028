"""The server on this machine, and in a container: sockets (by uvicorn), signals, and who may come in.

    python -m handler.local [--host 127.0.0.1] [--port 8080] [--bundle FOLDER] [--sessions FILE] [--keys FILE]

What is served is none of its business. Where other machines can reach it, it asks for keys. When it is told
to stop, answers under way end in time, by the same deadline that ends them elsewhere, and are kept.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from types import FrameType

from handler.access import is_loopback, open_keys
from handler.errors import StartupError
from handler.gateway import Gateway
from handler.platforms import Platform, parse_port
from handler.settings import fill_in, read_settings
from handler.terminal import while_read

ANSWERS_END_S = 5.0
CONNECTIONS_END_S = 8
"""After a signal: answers take no new token after the first, no connection is waited for after the second.
Cloud Run kills after ten seconds, SageMaker and Container Apps after thirty.
Source: https://cloud.google.com/run/docs/container-contract#instance-shutdown
"""

UNLESS_SET = {"streaming": 1, "gateway_timeout_s": 900}
"""It can stream, and no gateway in front of it gives up earlier."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    options = _options(arguments)
    for name in ("bundle", "sessions", "keys"):
        if getattr(options, name) is not None:
            os.environ[f"DORMOUSE_{name.upper()}"] = getattr(options, name)
    return serve(options.host, options.port, None)


def serve(host: str, port: int, platform: Platform | None) -> int:
    """Serve until interrupted, or told to stop by a signal; the process's exit status."""
    fill_in(os.environ, **UNLESS_SET)
    try:
        keys = open_keys(read_settings(os.environ).keys, host, platform)
        listener = _listen(host, port)
    except StartupError as error:
        print(f"dormouse: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        reason = error.strerror or str(error)
        print(f"dormouse: cannot listen on {host}:{port}: {reason}", file=sys.stderr)
        return 1
    # SIGTERM is a platform's Ctrl-C. The first process of a container would not hear it otherwise.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn has tidied up by then
        from handler.function import APPLICATION, lambda_handler  # here: it loads the model

        trusts_machine = keys is None and is_loopback(host)
        gateway = Gateway(lambda_handler, _announcing(listener, host), keys, trusts_machine=trusts_machine)
        run(listener, gateway, lambda: APPLICATION.end_answers(ANSWERS_END_S))
    with while_read():
        print("Dormouse is asleep.")
    return 0


def _announcing(listener: socket.socket, host: str) -> Callable[[], None]:
    port = listener.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host

    def announce() -> None:
        with while_read():
            print(f"Dormouse is awake: http://{shown}:{port}  (Ctrl-C to stop)")

    return announce


def run(listener: socket.socket, gateway: Gateway, end_answers: Callable[[], None]) -> None:
    """Serve until a signal; `end_answers` is called by it, and what is under way is waited for."""
    import uvicorn

    class Server(uvicorn.Server):
        """Uvicorn's, which says at once when it is told to stop: by itself it only waits."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            super().handle_exit(sig, frame)
            end_answers()

    config = uvicorn.Config(
        gateway,
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=CONNECTIONS_END_S,
    )
    Server(config).run(sockets=[listener])


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m handler.local", description="Serve on this machine.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", default=8080, type=_port, help="0 takes a free one (default: %(default)s)")
    parser.add_argument(
        "--bundle", help="folder or s3://bucket/prefix of the model's bundle (default: the embedded one)"
    )
    parser.add_argument("--sessions", help="SQLite file of the conversations, or `dynamodb`")
    parser.add_argument("--keys", help="file of the API keys; needed where other machines can reach --host")
    return parser.parse_args(arguments)


def _port(text: str) -> int:
    try:
        return parse_port(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


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


if __name__ == "__main__":
    sys.exit(main())
