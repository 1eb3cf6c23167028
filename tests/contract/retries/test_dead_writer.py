"""A real process is killed while it answers: its client's repetition gets the turn, once."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import pytest

from handler.routes.events import LOCAL_TENANT
from tests.contract.retries.crew import Crew
from tests.contract.sessions.stores import Place, everything_in
from tests.unit.handler.scripted_engine import MODEL

LIMIT_MS = 2_000
CLAIMED_WITHIN_S = 30.0


def attempts_in(place: Place) -> int:
    """How often claims and notes of attempts are spoken of in what is stored."""
    return len(re.findall("key:|try:", everything_in(place)))


@pytest.mark.parametrize("place", ["sqlite", "dynamodb"], indirect=True)
@pytest.mark.parametrize("key", [None, "a key"])
def test_the_lease_of_the_dead_runs_out(place: Place, key: str | None, tmp_path: Path) -> None:
    """After SIGKILL in the middle of an answer OpenAI's client repeats it by itself, waits for the lease of
    the dead, and has its turn, which is there once."""
    headers = {"x-request-timeout-ms": str(LIMIT_MS), **({"Idempotency-Key": key} if key else {})}
    hold = tmp_path / "hold"
    hold.touch()
    with Crew(place, 1, hold=hold) as crew, crew.client(max_retries=12, timeout=60) as client:
        conversation = client.conversations.create().id
        store, idle = place.open(time.time), attempts_in(place)
        answered: list[str] = []

        def ask() -> None:
            made = client.responses.create(
                model=MODEL, conversation=conversation, input="t1", extra_headers=headers
            )
            answered.append(made.output_text)

        asking = threading.Thread(target=ask)
        asking.start()
        give_up_s = time.monotonic() + CLAIMED_WITHIN_S
        while attempts_in(place) == idle:
            assert time.monotonic() < give_up_s, "nobody took up the request"
            time.sleep(0.05)
        assert not answered
        crew.kill(0)
        hold.unlink()
        asking.join(60)
        assert answered
        assert "t1 after nothing".startswith(answered[0])
        items = store.items(LOCAL_TENANT, conversation).data
        assert [item.role for item in items] == ["assistant", "user"]
        assert store.get(LOCAL_TENANT, conversation).version == 2
        store.close()
