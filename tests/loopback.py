"""HTTP servers of the tests themselves: on 127.0.0.1, in a thread beside the test, ended with it.

Knows nothing of what they answer.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_POLL_S = 0.01  # how often it looks whether it shall end


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], port: int = 0) -> Iterator[str]:
    """Answer with the handler while the block runs; give the address, `127.0.0.1:PORT`."""
    server = _Server(("127.0.0.1", port), handler)
    thread = threading.Thread(target=server.serve_forever, args=(_POLL_S,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Quiet(BaseHTTPRequestHandler):
    """Logs no request."""

    def log_message(self, *_: object) -> None:
        return


class _Server(ThreadingHTTPServer):
    """Says nothing of connections that end with the process at their other end."""

    daemon_threads = True
    request_queue_size = 128  # of the library's 5, clients that come together wait a second for the next try

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)
