"""What Lambda calls. The application is built once, while this module is imported; every event then goes to
it."""

from __future__ import annotations

import gc
import os
import sys
import time
from typing import TYPE_CHECKING, Any

STARTED_S = time.monotonic()  # before the imports below, which are most of a cold start
gc.disable()  # what is imported stays: looking for garbage in it takes a tenth of a start

from handler.application import build, prepare_snapshot  # noqa: E402
from handler.errors import StartupError  # noqa: E402
from handler.settings import read_settings  # noqa: E402

if TYPE_CHECKING:
    from handler.assembly import Application


def start() -> Application:
    """Build the application, or end the process with one clear line."""
    try:
        settings = read_settings(os.environ)
        application = build(settings, started_s=STARTED_S)
        if settings.snapshot:
            prepare_snapshot(application)
        return application
    except StartupError as error:
        print(f"dormouse: {error}", file=sys.stderr, flush=True)
        raise SystemExit(1) from None


APPLICATION = start()
gc.freeze()
gc.enable()


def lambda_handler(event: dict[str, Any], context: Any) -> Any:
    """Answer one event: a dict, or a generator of bytes where the runtime can stream."""
    return APPLICATION.api.answer(event, context)
