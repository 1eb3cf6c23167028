"""An engine and a store become an `Api`: every route with the use case behind it.

Imports all that requests need, which takes as long as a model: whoever loads one begins with that.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from handler.chat.cancel import Cancellation
from handler.chat.choices import Frame
from handler.chat.completions import Completions
from handler.chat.conversations import Conversations
from handler.chat.export import Exports
from handler.chat.inference import Inference
from handler.chat.ledger import Ledger
from handler.chat.preparation import Preparation
from handler.chat.receipt import Till
from handler.chat.replay import Replays
from handler.chat.responses import Responses
from handler.chat.retries import Retries
from handler.chat.running import RunningResponses
from handler.chat.tenants import Tenants
from handler.chat.text_completions import TextCompletions
from handler.chat.thread import Threads
from handler.engine.bundle import Manifest
from handler.engine.cpu import instruction_set
from handler.engine.engine import Engine
from handler.routes import Api
from handler.routes.completions import CompletionRoutes
from handler.routes.conversations import ConversationRoutes
from handler.routes.responses import ResponseRoutes
from handler.routes.service import ServiceRoutes
from handler.routes.tenants import TenantRoutes
from handler.sessions import SessionStore
from handler.settings import Settings
from handler.telemetry import Telemetry


@dataclass(frozen=True)
class Application:
    """What a process holds for as long as it lives."""

    api: Api
    engine: Engine
    store: SessionStore
    running: RunningResponses
    inference: Inference
    till: Till

    def end_answers(self, limit_s: float) -> None:
        """The process is about to stop: every answer ends within this time, as at a deadline, and is kept."""
        self.inference.end(limit_s)


def assemble(
    settings: Settings,
    engine: Engine,
    store: SessionStore,
    *,
    started_s: float,
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], float] = time.time,
) -> Application:
    """Connect an engine and a store that are there already.

    `clock` measures budgets and receipts; `now` says what time it is, in Unix seconds.
    """
    telemetry = Telemetry(in_lambda=settings.memory_mib is not None)
    inference = Inference(engine, clock, margin_s=settings.deadline_margin_ms / 1000)
    # A snapshot is made once, and is billed to nobody who is woken from it.
    init_ms = 0.0 if settings.snapshot else (clock() - started_s) * 1000
    till = Till(settings, telemetry, init_ms, exact=engine.exact, instruction_set=instruction_set())
    name = fingerprint(engine.manifest)
    frame = Frame(inference, till, name, now)
    ledger = Ledger(store, settings.daily_tokens, now, telemetry)
    threads = Threads(store, engine.model.context_tokens)
    retries, running = Retries(store, now), RunningResponses(store)
    preparation = Preparation(inference, store, threads, name, till.instruction_set, now)
    replays = Replays(inference, store, running, till, name, now)
    endpoints = [
        *ServiceRoutes(engine.manifest, engine.card, _created_s(engine.manifest), settings).endpoints(),
        *CompletionRoutes(Completions(frame), TextCompletions(frame), telemetry, ledger).endpoints(),
        *ResponseRoutes(
            Responses(inference, preparation, store, threads, retries, running, replays, till, now),
            preparation,
            replays,
            Cancellation(store, running),
            telemetry,
            ledger,
        ).endpoints(),
        *ConversationRoutes(Conversations(store, retries, now, inference.budget), Exports(store)).endpoints(),
        *TenantRoutes(Tenants(store, ledger), inference.budget).endpoints(),
    ]
    return Application(Api(endpoints, settings, telemetry, now), engine, store, running, inference, till)


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
