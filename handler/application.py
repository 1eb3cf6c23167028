"""Settings in, an application out: the order of things at a start, and which implementation serves."""

from __future__ import annotations

import gc
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from handler.engine import start_loading
from handler.location import S3Location
from handler.settings import Settings

if TYPE_CHECKING:
    from handler.assembly import Application
    from handler.engine.files import BundleFiles
    from handler.sessions import SessionStore

SECONDS_A_DAY = 86_400


def build(settings: Settings, *, started_s: float) -> Application:
    """Load and connect everything; `started_s` is when the process began, on the monotonic clock.

    Raises: StartupError with one line for the operator.
    """
    bundle = open_bundle(settings.bundle)
    loading = start_loading(bundle, threads=settings.model_threads, exact=settings.exact)
    # Here, since importing Powertools and pydantic takes as long as the model does.
    from handler.assembly import assemble

    store = open_store(settings, time.time)
    return assemble(settings, loading.engine(for_chat=True), store, started_s=started_s)


def prepare_snapshot(application: Application) -> None:
    """Make the process worth freezing and fit to be thawed; note what has to be done when it is.

    Worth freezing: every weight is touched, and what the first request would import is there. Fit: no
    connection outlives it, and no two copies draw the same numbers. Seeds and ids are the operating system's,
    drawn at every request; what waits before it asks again draws from `random`, which is seeded anew.
    Source: https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-python.html and
    https://docs.aws.amazon.com/lambda/latest/dg/snapstart-uniqueness.html
    """
    from snapshot_restore_py import register_after_restore  # Lambda's runtime carries it

    for _ in application.engine.chat([{"role": "user", "content": "Hello!"}], max_tokens=2):
        pass
    application.engine.measure_steps()
    application.store.prepare()
    _disconnect(application.store)

    def restore() -> None:
        began_s = time.monotonic()
        random.seed()
        _disconnect(application.store)
        application.till.init_ms = (time.monotonic() - began_s) * 1000

    register_after_restore(restore)


def _disconnect(store: SessionStore) -> None:
    store.close()
    gc.collect()  # a botocore session is a cycle, and holds the connection its credentials came by


def open_bundle(place: Path | S3Location) -> Path | BundleFiles:
    """Begin to fetch a bundle that lies in S3; a folder is taken as it is.

    Raises: BundleError.
    """
    if isinstance(place, Path):
        return place
    from handler.s3 import S3Objects
    from handler.transfer import FetchedFiles

    return FetchedFiles(S3Objects(place), _tell)


def _tell(line: str) -> None:
    print(f"dormouse: {line}", file=sys.stderr, flush=True)


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
