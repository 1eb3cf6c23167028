"""Threads and processes on shared conversations, faults and kill -9: no turn is lost, doubled or halved."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

from handler.sessions import Item, SessionStore
from tests.contract.sessions.faults import behind_faults
from tests.contract.sessions.stores import Place
from tests.contract.sessions.storm import Orders
from tests.contract.sessions.turns import TENANT, conversation

TURNS = int(os.environ.get("STORM_TURNS", "80"))
"""At least as many are acknowledged; 2,000 are the long run."""

TURNS_PER_KILL = 25
CONVERSATIONS = 5 if TURNS < 1_000 else 20
PROCESSES, THREADS = 4, 4


@pytest.mark.parametrize("place", ["sqlite", "dynamodb"], indirect=True)
def test_no_turn_is_lost_doubled_or_halved(place: Place, tmp_path: Path) -> None:
    """After a storm every conversation is one row of whole turns, each made for the state that it follows."""
    store = place.open(time.time)
    for n in range(CONVERSATIONS):
        store.create(TENANT, conversation(f"conv_{n}"))
    with behind_faults(place) as reached:
        crew = Crew(reached, tmp_path)
        try:
            crew.work()
        finally:
            crew.stop()
    stored = Counter(turn for n in range(CONVERSATIONS) for turn in transcript(store, f"conv_{n}"))
    events = diary(tmp_path)
    assert set(stored.values()) == {1}, "a turn is stored twice"
    assert events["done"] <= stored.keys(), "an acknowledged turn is lost"
    assert stored.keys() <= events["try"], "a turn is stored that nobody made"
    assert not events["conflict"] & stored.keys(), "a refused turn is stored"


@dataclass
class Crew:
    """The processes; one of them is killed and replaced each time some turns have been acknowledged."""

    place: Place
    folder: Path
    kills: int = 0
    members: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def work(self) -> None:
        """Run until there are turns enough."""
        self.members = [self._start() for _ in range(PROCESSES)]
        while (done := len(diary(self.folder)["done"])) < TURNS:
            time.sleep(0.05)
            if done < TURNS_PER_KILL * (self.kills + 1):
                continue
            victim = random.choice([member for member in self.members if member.poll() is None])
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            self.members[self.members.index(victim)] = self._start()
            self.kills += 1

    def stop(self) -> None:
        """Let everybody finish the turn they are in."""
        (self.folder / "stop").touch()
        for member in self.members:
            assert member.wait(timeout=60) == 0

    def _start(self) -> subprocess.Popen[bytes]:
        name = self.folder / f"{uuid.uuid4().hex}.diary"
        name.touch()
        orders = Orders(
            kind=self.place.kind,
            address=self.place.address,
            table=self.place.table,
            conversations=CONVERSATIONS,
            threads=THREADS,
            diary=str(name),
            stop=str(self.folder / "stop"),
        )
        return subprocess.Popen(
            [sys.executable, "-m", "tests.contract.sessions.storm", json.dumps(asdict(orders))]
        )


def transcript(store: SessionStore, conversation_id: str) -> list[str]:
    """Read a conversation's turns; check that they are whole and follow what their writers saw."""
    items: list[Item] = []
    page = store.items(TENANT, conversation_id, limit=100, order="asc")
    items += page.data
    while page.has_more:
        page = store.items(TENANT, conversation_id, limit=100, order="asc", after=page.data[-1].id)
        items += page.data
    head = store.get(TENANT, conversation_id)
    assert [item.seq for item in items] == list(range(1, head.last_seq + 1))
    assert head.version == 1 + len(items) // 2
    turns = []
    for question, answer in zip(items[::2], items[1::2], strict=True):
        assert (question.fields["part"], answer.fields["part"]) == ("question", "answer")
        assert question.fields["turn"] == answer.fields["turn"]
        seen = json.loads(question.content[0]["text"])
        before = items[question.seq - 2].id if question.seq > 1 else None
        assert seen == {"seq": question.seq - 1, "id": before}
        found = store.response(TENANT, f"resp_{question.fields['turn']}")
        assert (found.first_seq, found.last_seq) == (question.seq, answer.seq)
        turns.append(question.fields["turn"])
    return turns


def diary(folder: Path) -> dict[str, set[str]]:
    """Gather what all processes wrote down; a kill may have cut a last line."""
    events: dict[str, set[str]] = defaultdict(set)
    for file in folder.glob("*.diary"):
        for line in file.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                event, turn = line.split()
                events[event].add(turn)
    return events
