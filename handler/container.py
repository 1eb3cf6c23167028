"""What the container image starts, wherever it is: Lambda's runtime, or the HTTP server of other platforms.

    python -m handler.container [serve | ping]

It decides by what the platform sets, fills in what nobody has set, and hands over. Either way the same
`lambda_handler` answers. `ping` asks the server in the same container whether it serves.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from handler import platforms
from handler.errors import StartupError
from handler.settings import fill_in

HANDLER = "handler.function.lambda_handler"
EVERYWHERE = "0.0.0.0"
PING = "ping"
PING_TIMEOUT_S = 2.0
BUNDLE = Path(__file__).resolve().parent.parent / "bundle"
"""Where the image carries its own."""


def main(arguments: Sequence[str]) -> int:
    """Do as the arguments and the platform say; the process's exit status."""
    if platforms.is_lambda(os.environ):
        from handler import runtime

        fill_in(os.environ, bundle=BUNDLE)
        runtime.main(["-m", "awslambdaric", HANDLER])
        return 0
    try:
        if list(arguments) not in ([], [platforms.SERVE], [PING]):
            said = " ".join(arguments)
            raise StartupError(f"{said!r}: the image takes no argument but {platforms.SERVE} or {PING}")
        platform = platforms.recognise(os.environ, arguments)
        port = platforms.port(os.environ, platform)
        return _ping(port) if list(arguments) == [PING] else _serve(platform, port)
    except StartupError as error:
        print(f"dormouse: {error}", file=sys.stderr, flush=True)
        return 1


def _serve(platform: platforms.Platform | None, port: int) -> int:
    """Raises: StartupError where what is mounted is no bundle."""
    if not os.environ.get("DORMOUSE_BUNDLE"):
        fill_in(os.environ, bundle=platforms.mounted_bundle(platform) or BUNDLE)
    if platform is not None:
        fill_in(
            os.environ,
            gateway_timeout_s=platform.timeout_s,
            gateway_stream_timeout_s=platform.stream_timeout_s,
        )
    from handler import local

    return local.serve(EVERYWHERE, port, platform)


def _ping(port: int) -> int:
    from urllib.request import ProxyHandler, build_opener

    direct = build_opener(ProxyHandler({}))  # a proxy that the environment names knows no loopback of ours
    try:
        direct.open(f"http://127.0.0.1:{port}/ping", timeout=PING_TIMEOUT_S).close()
    except OSError as error:
        print(f"dormouse: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
