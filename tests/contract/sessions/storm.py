"""A process whose threads take turns in shared conversations, until it is stopped or killed; run as a module.

It writes down what it tries and what it is told, one line a turn and event, by `os.write` to its own file:
what was written is there after SIGKILL. A turn's items say what its writer had seen: the number and id of the
last item."""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from handler.errors import Unavailable, VersionConflict
from handler.sessions import Item, SessionStore
from tests.contract.sessions.stores import Place
from tests.contract.sessions.turns import TENANT, message, response

Event = Literal["try", "done", "conflict", "unknown"]


@dataclass(frozen=True)
class Orders:
    """What a process is told on its command line."""

    kind: str
    address: str
    table: str
    conversations: int
    threads: int
    diary: str
    stop: str

    @property
    def place(self) -> Place:
        """The store's place."""
        return Place(self.kind, self.address, self.table)


def main() -> None:
    """Take turns until the stop file is there."""
    orders = Orders(**json.loads(sys.argv[1]))
    store = orders.place.open(time.time)
    diary = os.open(orders.diary, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    threads = [
        threading.Thread(target=_take_turns, args=(store, orders, diary)) for _ in range(orders.threads)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _take_turns(store: SessionStore, orders: Orders, diary: int) -> None:
    chance = random.Random(uuid.uuid4().int)
    while not Path(orders.stop).exists():
        turn = uuid.uuid4().hex
        try:
            _take_turn(store, f"conv_{chance.randrange(orders.conversations)}", turn, diary)
        except VersionConflict:
            _note(diary, "conflict", turn)
        except Unavailable:
            _note(diary, "unknown", turn)


def _take_turn(store: SessionStore, conversation_id: str, turn: str, diary: int) -> None:
    held = store.get(TENANT, conversation_id)
    window = store.window(TENANT, held, max_items=2)
    seen = {"seq": held.last_seq, "id": window.items[-1].id if window.items else None}
    items = [_item(turn, part, seen) for part in ("question", "answer")]
    answer = response(f"resp_{turn}", conversation_id)
    _note(diary, "try", turn)
    store.append(TENANT, held, items, response=answer)
    _note(diary, "done", turn)


def _item(turn: str, part: str, seen: dict[str, object]) -> Item:
    return message(f"msg_{turn}_{part}", json.dumps(seen), fields={"turn": turn, "part": part})


def _note(diary: int, event: Event, turn: str) -> None:
    os.write(diary, f"{event} {turn}\n".encode())


if __name__ == "__main__":
    main()
