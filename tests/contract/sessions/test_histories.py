"""Any sequence of calls: every store answers as a plain dictionary in memory would."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from handler.errors import NotFound, VersionConflict
from handler.sessions import Conversation, Item, SessionStore
from tests.contract.sessions.stores import HandClock, Place
from tests.contract.sessions.turns import TENANT, conversation, message, seqs

RETENTION_S = 1000.0
CONVERSATIONS = st.sampled_from(["conv_a", "conv_b", "conv_c"])


class Histories(RuleBasedStateMachine):
    """A store, and what it should hold: the head as last returned, and the items by number."""

    place: Place
    tenants = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.tenant = f"{TENANT}-{next(self.tenants)}"
        self.clock = HandClock()
        self.store: SessionStore = self.place.open(self.clock, RETENTION_S)
        self.heads: dict[str, Conversation] = {}
        self.items: dict[str, dict[int, Item]] = {}
        self.used_s: dict[str, float] = {}
        self.stale: dict[str, Conversation] = {}
        self.names = itertools.count()

    def teardown(self) -> None:
        self.store.close()

    @rule(id=CONVERSATIONS, count=st.integers(0, 3))
    def append(self, id: str, count: int) -> None:
        """A turn on the newest version is stored; it creates what is not there."""
        items = [message(f"msg_{next(self.names)}") for _ in range(count)]
        held = self.heads.get(id)
        held = self.store.renew(self.tenant, held) if held else conversation(id)
        written = self.store.append(self.tenant, held, items)
        assert (written.version, written.last_seq) == (held.version + 1, held.last_seq + count)
        self.stale[id] = held
        self._remember(written, items)

    @rule(id=CONVERSATIONS)
    def append_late(self, id: str) -> None:
        """A turn on an older version is refused."""
        stale = self.stale.get(id)
        if id in self.heads and stale is not None and stale.version:
            with pytest.raises(VersionConflict):
                self.store.append(self.tenant, stale, [message(f"msg_{next(self.names)}")])

    @rule(id=CONVERSATIONS, choice=st.integers(0, 100))
    def delete_item(self, id: str, choice: int) -> None:
        """One item goes, the others keep their numbers."""
        if items := self.items.get(id):
            item = sorted(items.values(), key=lambda item: item.seq)[choice % len(items)]
            self.heads[id] = self.store.delete_item(self.tenant, id, item.id)
            del items[item.seq]

    @rule(id=CONVERSATIONS)
    def delete(self, id: str) -> None:
        """A conversation goes, or is not there."""
        with pytest.raises(NotFound) if id not in self.heads else contextlib.nullcontext():
            self.store.delete(self.tenant, id)
        self._forget(id)

    @rule(id=CONVERSATIONS, title=st.text(max_size=5))
    def rename(self, id: str, title: str) -> None:
        """A title changes alone."""
        if id in self.heads:
            self.heads[id] = self.store.update(self.tenant, id, title=title)
            assert self.heads[id].title == title

    @rule(step_s=st.sampled_from([1.0, 333.0, RETENTION_S]))
    def wait(self, step_s: float) -> None:
        """Whole seconds go by, the grain of expiry; what was not used expires, what is in use does not."""
        self.clock.now_s += step_s
        for id in [id for id, used_s in self.used_s.items() if used_s + RETENTION_S <= self.clock.now_s]:
            self._forget(id)

    @rule(id=CONVERSATIONS, limit=st.integers(1, 4), descending=st.booleans())
    def look(self, id: str, limit: int, descending: bool) -> None:
        """Pages and windows show what is there, in order."""
        if id not in self.heads:
            with pytest.raises(NotFound):
                self.store.items(self.tenant, id)
            return
        assert self.store.get(self.tenant, id) == self.heads[id]
        expected = sorted(self.items[id], reverse=descending)
        page = self.store.items(self.tenant, id, limit=limit, order="desc" if descending else "asc")
        assert seqs(page.data) == expected[:limit]
        assert page.has_more == (len(expected) > limit)
        window = self.store.window(self.tenant, self.heads[id], max_items=limit)
        assert [replace(item, seq=0) for item in window.items] == [
            replace(self.items[id][seq], seq=0) for seq in sorted(self.items[id])[-limit:]
        ]

    @precondition(lambda self: self.heads)
    @rule()
    def list_all(self) -> None:
        """The directory shows what is there."""
        listed = self.store.conversations(self.tenant)
        assert sorted(found.id for found in listed.data) == sorted(self.heads)

    def _remember(self, written: Conversation, items: list[Item]) -> None:
        self.heads[written.id] = self.store.get(self.tenant, written.id)
        first = written.last_seq - len(items) + 1
        numbered = {seq: replace(item, seq=seq) for seq, item in enumerate(items, first)}
        self.items.setdefault(written.id, {}).update(numbered)
        self.used_s[written.id] = self.clock.now_s

    def _forget(self, id: str) -> None:
        for memory in (self.heads, self.items, self.used_s, self.stale):
            memory.pop(id, None)  # type: ignore[attr-defined]


@pytest.mark.parametrize("place", ["sqlite", "dynamodb"], indirect=True)
def test_any_history_reads_as_it_was_written(place: Place) -> None:
    """Random calls, deletions and expiries included, never show anything but what the model holds."""
    machine: Any = type("HistoriesHere", (Histories,), {"place": place})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=10,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
