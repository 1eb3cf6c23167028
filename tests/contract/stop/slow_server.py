"""A whole server as a process, whose model takes its time over every token and never ends by itself.

    python -m tests.contract.stop.slow_server FILE

The file is that of the conversations. It prints its address, `asked` for each request, and `at work` when the
model begins.
"""

from __future__ import annotations

import contextlib
import functools
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from handler.assembly import assemble
from handler.gateway import Gateway
from handler.local import ANSWERS_END_S, run
from handler.sessions.sqlite import SqliteSessions
from handler.settings import Settings
from tests.unit.handler.scripted_engine import noisy_engine

STEP_S = 0.05


def main(sessions: Path) -> None:
    """Serve until told to stop."""
    tell_once = functools.cache(functools.partial(print, "at work", flush=True))

    def step() -> None:
        tell_once()
        time.sleep(STEP_S)

    engine = noisy_engine(on_step=step)
    store = SqliteSessions(sessions, clock=time.time, retention_s=None)
    application = assemble(Settings(streaming=True), engine, store, started_s=time.monotonic())
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"

    def answer(*request: Any) -> Any:
        print("asked", flush=True)
        return application.api.answer(*request)

    gateway = Gateway(answer, lambda: print(address, flush=True))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        run(listener, gateway, lambda: application.end_answers(ANSWERS_END_S))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
