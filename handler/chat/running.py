"""The responses under way in this process, and how one is told to end: here, or by a mark in the store.

The mark is for another process, above all another Lambda environment: an answer that takes longer than
`LOOK_S` looks for it that often, in a thread beside the model, so that neither a token nor a deadline waits
for the store. Knows nothing of models or events.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from handler.chat.budget import Budget
from handler.errors import Unavailable
from handler.schema.responses import ResponseObject
from handler.sessions import SessionStore

LOOK_S = 1.0
"""One GetItem a second at most, a read unit each, and none for answers that are shorter."""


@dataclass
class Running:
    """A response under way."""

    id: str
    budget: Budget
    beginning: Callable[[], ResponseObject]
    ended: threading.Event = field(default_factory=threading.Event)
    body: ResponseObject | None = None
    """What it ended as; None where it failed."""


class RunningResponses:
    """All of them, by tenant and id."""

    def __init__(self, store: SessionStore) -> None:
        self.look_s = LOOK_S
        self._store = store
        self._lock = threading.Lock()
        self._running: dict[tuple[str, str], Running] = {}

    @contextmanager
    def entered(self, tenant: str, running: Running, *, is_stored: bool) -> Iterator[Running | None]:
        """Be known as under way inside the block; None where that response is under way already.

        Only what is stored looks for a mark: nobody in another process could be told what became of the rest.
        """
        key = (tenant, running.id)
        with self._lock:
            is_first = self._running.setdefault(key, running) is running
        if not is_first:
            yield None
            return
        if is_stored:
            threading.Thread(target=self._watch, args=(*key, running), daemon=True).start()
        try:
            yield running
        finally:
            with self._lock:
                del self._running[key]
            running.ended.set()

    def find(self, tenant: str, response_id: str) -> Running | None:
        """The response, if it is under way here."""
        with self._lock:
            return self._running.get((tenant, response_id))

    def ids(self, tenant: str) -> list[str]:
        """The ids of a tenant's responses that are under way here."""
        with self._lock:
            return [response_id for owner, response_id in self._running if owner == tenant]

    def _watch(self, tenant: str, response_id: str, running: Running) -> None:
        while not running.ended.wait(self.look_s) and running.budget.should_stop() is None:
            try:
                if self._store.is_cancel_requested(tenant, response_id):
                    running.budget.cancel()
            except Unavailable:
                continue  # looked for again in a second
