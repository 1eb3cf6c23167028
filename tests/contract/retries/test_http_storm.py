"""Whole applications under fire: OpenAI's client retries against servers that are killed and a table that
fails, and no turn is lost, doubled or halved."""

from __future__ import annotations

import json
import os
import random
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx2
import openai
import pytest

from handler.routes.events import LOCAL_TENANT as TENANT
from handler.sessions import Item, SessionStore
from tests.contract.retries.crew import Crew
from tests.contract.sessions.faults import behind_faults
from tests.contract.sessions.stores import Place
from tests.unit.handler.scripted_engine import MODEL

TURNS = int(os.environ.get("STORM_TURNS", "80"))
"""At least as many are acknowledged; 2,000 are the long run."""

CONVERSATIONS = 5 if TURNS < 1_000 else 20
PROCESSES, THREADS = 4, 16
KILL_EVERY_S = 1.0
LIMIT_MS = 3_000
RETRIES = 6
LOST = 0.1
"""The share of the answers that are cut off after all has been done."""

Fate = Literal["try", "done", "conflict", "unknown"]


@pytest.mark.parametrize("place", ["sqlite", "dynamodb"], indirect=True)
@pytest.mark.timeout(3_600)
def test_a_clients_turns_are_taken_once(place: Place) -> None:
    """After a storm every conversation is one row of whole turns, each made for the one before it; what a
    client was told is stored once, and what it was refused is not."""
    with behind_faults(place) as reached, Crew(reached, PROCESSES) as crew:
        store = place.open(time.time)
        crowd = Crowd(crew, [make_conversation(crew) for _ in range(CONVERSATIONS)])
        crowd.work()
        stored = Counter(turn for id in crowd.conversations for turn in transcript(store, id))
        store.close()
    fates = crowd.fates
    print(json.dumps({**{fate: len(turns) for fate, turns in fates.items()}, **facts(crowd, stored)}))
    assert not crowd.failures, crowd.failures[0]
    assert set(stored.values()) == {1}, "a turn is stored twice"
    assert fates["done"] <= stored.keys(), "an acknowledged turn is lost"
    assert stored.keys() <= fates["try"], "a turn is stored that nobody made"
    assert not fates["conflict"] & stored.keys(), "a refused turn is stored"
    assert crew.kills
    assert crowd.replayed, "no answer was given twice: nothing has been tested"


def facts(crowd: Crowd, stored: Counter[str]) -> dict[str, Any]:
    """What a reader of the log wants to know."""
    return {
        "place": crowd.crew.place.kind,
        "stored": len(stored),
        "kills": crowd.crew.kills,
        "replayed": crowd.replayed,
        "seconds": round(crowd.seconds, 1),
    }


@dataclass
class Crowd:
    """Threads that talk in shared conversations, each with a client of its own."""

    crew: Crew
    conversations: list[str]
    fates: dict[Fate, set[str]] = field(
        default_factory=lambda: {"try": set(), "done": set(), "conflict": set(), "unknown": set()}
    )
    failures: list[Exception] = field(default_factory=list)
    replayed: int = 0
    seconds: float = 0.0
    over: threading.Event = field(default_factory=threading.Event)

    def work(self) -> None:
        """Talk until there are turns enough and one was given twice, and kill a server every second."""
        started_s = time.monotonic()
        threads = [threading.Thread(target=self._talk) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        while (len(self.fates["done"]) < TURNS or not self.replayed) and not self.failures:
            time.sleep(KILL_EVERY_S)
            self.crew.kill(random.randrange(PROCESSES))
        self.over.set()
        for thread in threads:
            thread.join()
        self.seconds = time.monotonic() - started_s

    def _talk(self) -> None:
        with self.crew.client(lost=LOST, max_retries=RETRIES, timeout=60) as client:
            try:
                while not self.over.is_set():
                    self._turn(client, random.choice(self.conversations))
            except Exception as error:
                self.failures.append(error)

    def _turn(self, client: openai.OpenAI, conversation: str) -> None:
        turn = f"t{uuid.uuid4().hex[:10]}"
        headers = {"x-request-timeout-ms": str(LIMIT_MS)}
        if keyed := random.random() < 0.5:
            headers["Idempotency-Key"] = f"key of {turn}"
        ask = random.choice([ask_whole, ask_whole, ask_streamed])
        self.fates["try"].add(turn)
        while True:
            try:
                text, is_replayed = ask(client, conversation, turn, headers)
            except (openai.APIError, httpx2.TransportError) as error:
                code = getattr(error, "code", None)
                if getattr(error, "status_code", 503) not in (409, 503) and code != "deadline_too_short":
                    raise  # on a busy machine the time may be up before a prompt is made
                conflict = code == "version_conflict"
                if keyed and not conflict:
                    continue  # whatever became of it: with its key it may be sent again
                self.fates["conflict" if conflict else "unknown"].add(turn)
                return
            self.fates["done"].add(turn)
            self.replayed += is_replayed
            assert text.startswith(turn) or turn.startswith(text)
            check_newest(client, conversation)
            return


def ask_whole(
    client: openai.OpenAI, conversation: str, turn: str, headers: dict[str, str]
) -> tuple[str, bool]:
    """Take a turn; give its text, and whether it had been taken before."""
    raw = client.responses.with_raw_response.create(
        model=MODEL, conversation=conversation, input=turn, truncation="auto", extra_headers=headers
    )
    return raw.parse().output_text, raw.headers.get("x-dormouse-replayed") == "true"


def ask_streamed(
    client: openai.OpenAI, conversation: str, turn: str, headers: dict[str, str]
) -> tuple[str, bool]:
    """The same, event by event; the deltas are the text."""
    with client.responses.create(
        model=MODEL,
        conversation=conversation,
        input=turn,
        truncation="auto",
        extra_headers=headers,
        stream=True,
    ) as events:
        said = ""
        for event in events:
            if event.type == "response.output_text.delta":
                said += event.delta
            elif event.type in ("response.completed", "response.incomplete"):
                assert said == event.response.output_text
                return said, events.response.headers.get("x-dormouse-replayed") == "true"
    raise httpx2.RemoteProtocolError("the stream ended early")


def check_newest(client: openai.OpenAI, conversation: str) -> None:
    """Whenever one looks, the newest two items are a question and its own answer."""
    try:
        items = client.conversations.items.list(conversation, limit=2).data
    except openai.APIError:
        return  # the table is out of reach
    answer, question = items
    assert (question.role, answer.role) == ("user", "assistant")
    asked, said = question.content[0].text, answer.content[0].text
    assert said.startswith(asked) or asked.startswith(said)


def make_conversation(crew: Crew) -> str:
    """Begin a conversation."""
    with crew.client(max_retries=RETRIES) as client:
        return client.conversations.create().id


def transcript(store: SessionStore, conversation_id: str) -> list[str]:
    """Read a conversation's turns; check that they are whole and that each was made for the one before."""
    items: list[Item] = []
    after, has_more = None, True
    while has_more:
        page = store.items(TENANT, conversation_id, limit=100, order="asc", after=after)
        items += page.data
        after, has_more = items[-1].id if items else None, page.has_more
    head = store.get(TENANT, conversation_id)
    assert [item.seq for item in items] == list(range(1, head.last_seq + 1))
    assert head.version == 1 + len(items) // 2
    turns = ["nothing"]
    for question, answer in zip(items[::2], items[1::2], strict=True):
        assert (question.role, answer.role) == ("user", "assistant")
        assert question.response_id == answer.response_id
        turn, said = question.content[0]["text"], answer.content[0]["text"]
        whole = f"{turn} after {turns[-1]}"
        is_right = said == whole if answer.status == "completed" else whole.startswith(said)
        assert is_right, f"{answer.status}: {said!r}, not {whole!r}, at {answer.seq} of {len(items)}"
        turns.append(turn)
    return turns[1:]
