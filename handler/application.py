"""Puts the parts together: settings in, an `Api` out. The only place that knows which implementation
serves."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from handler.engine import start_loading
from handler.settings import Settings

if TYPE_CHECKING:
    from handler.engine.bundle import Manifest
    from handler.engine.engine import Engine
    from handler.routes import Api
    from handler.sessions import SessionStore

SECONDS_A_DAY = 86_400


@dataclass(frozen=True)
class Application:
    """What a process holds for as long as it lives."""

    api: Api
    engine: Engine
    store: SessionStore


def build(settings: Settings, *, started_s: float) -> Application:
    """Load and connect everything; `started_s` is when the process began, on the monotonic clock.

    Raises: StartupError with one line for the operator.
    """
    loading = start_loading(settings.bundle, threads=settings.threads or None, exact=settings.exact)
    import handler.routes  # noqa: F401 - here: importing Powertools and pydantic takes as long as the model

    store = open_store(settings, time.time)
    engine = loading.engine()
    engine.prompt.prepare()
    return assemble(settings, engine, store, started_s=started_s)


def assemble(
    settings: Settings,
    engine: Engine,
    store: SessionStore,
    *,
    started_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> Application:
    """Connect an engine and a store that are there already; `clock` measures budgets and receipts."""
    from handler.chat.completions import Completions
    from handler.chat.conversations import Conversations
    from handler.chat.inference import Inference
    from handler.chat.receipt import Till
    from handler.chat.responses import Responses
    from handler.chat.text_completions import TextCompletions
    from handler.chat.thread import Threads
    from handler.engine.cpu import instruction_set
    from handler.routes import Api
    from handler.routes.completions import CompletionRoutes
    from handler.routes.conversations import ConversationRoutes
    from handler.routes.responses import ResponseRoutes
    from handler.routes.service import ServiceRoutes
    from handler.telemetry import Telemetry

    telemetry = Telemetry(in_lambda=settings.memory_mib is not None)
    inference = Inference(engine, clock)
    init_ms = (clock() - started_s) * 1000
    till = Till(settings, telemetry, init_ms, exact=engine.exact, instruction_set=instruction_set())
    name = fingerprint(engine.manifest)
    now: Callable[[], float] = time.time
    threads = Threads(store, engine.model.context_tokens)
    endpoints = [
        *ServiceRoutes(engine.manifest, _created_s(engine.manifest), settings).endpoints(),
        *CompletionRoutes(
            Completions(inference, till, name, now), TextCompletions(inference, till, name, now), telemetry
        ).endpoints(),
        *ResponseRoutes(Responses(inference, store, threads, till, name, now), telemetry).endpoints(),
        *ConversationRoutes(Conversations(store, now)).endpoints(),
    ]
    return Application(Api(endpoints, settings, telemetry), engine, store)


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


def fingerprint(manifest: Manifest) -> str:
    """Name the exact bytes that answer: on one instruction set, the same fingerprint and seed give the same
    text."""
    files = "".join(f"{name}={entry.sha256};" for name, entry in sorted(manifest.files.items()))
    return "fp_" + hashlib.sha256(files.encode()).hexdigest()[:16]


def _created_s(manifest: Manifest) -> int:
    try:
        moment = datetime.fromisoformat(manifest.created)
    except ValueError:
        return 0
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
