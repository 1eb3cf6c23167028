"""Settings in, an application out: the order of things at a start, and which implementation serves."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from handler.engine import start_loading
from handler.settings import Settings

if TYPE_CHECKING:
    from handler.assembly import Application
    from handler.sessions import SessionStore

SECONDS_A_DAY = 86_400


def build(settings: Settings, *, started_s: float) -> Application:
    """Load and connect everything; `started_s` is when the process began, on the monotonic clock.

    Raises: StartupError with one line for the operator.
    """
    loading = start_loading(settings.bundle, threads=settings.threads or None, exact=settings.exact)
    # Here, since importing Powertools and pydantic takes as long as the model does.
    from handler.assembly import assemble

    store = open_store(settings, time.time)
    return assemble(settings, loading.engine(for_chat=True), store, started_s=started_s)


def prepare_snapshot(application: Application) -> None:
    """Make the process worth freezing: every weight touched; and fit to be thawed: no connection outlives it.

    Seeds come from the operating system at every request, so that copies of one snapshot differ.
    Source: https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-python.html
    """
    from snapshot_restore_py import register_after_restore  # Lambda's runtime carries it

    for _ in application.engine.chat([{"role": "user", "content": "Hello!"}], max_tokens=2):
        pass
    application.engine.measure_steps()
    application.store.close()
    register_after_restore(application.store.close)


def open_store(settings: Settings, clock: Callable[[], float]) -> SessionStore:
    """Open the session store that the settings name; a network is not touched before the first request."""
    retention_s = settings.session_ttl_days * SECONDS_A_DAY or None
    if settings.sessions == "dynamodb":
        from handler.sessions.dynamo import DynamoSessions
        from handler.sessions.dynamo_table import DynamoTable

        table = DynamoTable(settings.table, endpoint_url=settings.dynamodb_endpoint)
        return DynamoSessions(table, clock=clock, retention_s=retention_s)
    from handler.sessions.sqlite import SqliteSessions

    return SqliteSessions(Path(settings.sessions), clock=clock, retention_s=retention_s)
