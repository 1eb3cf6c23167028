"""A streamed answer that is read as a client reads it: some of it, more of it, or no further."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

from handler.runtime_stream import PRELUDE_END
from tests.unit.handler.conftest import Door, rest_event
from tests.unit.handler.scripted_engine import MODEL

RESPONSES = "/v1/responses"
DELTA = "response.output_text.delta"


class Reading:
    """One stream of one client."""

    def __init__(self, door: Door, method: str, path: str, body: Any = None, **headers: str) -> None:
        answer = door.application.api.answer(rest_event(method, path, body, **headers), None)
        assert isinstance(answer, Generator), answer
        self._chunks = answer
        self.events: list[Any] = []
        self.pings = 0
        prelude = next(answer)
        assert json.loads(prelude.removesuffix(PRELUDE_END))["statusCode"] == 200

    def read(self) -> bool:
        """Take one chunk; False at the end."""
        chunk = next(self._chunks, None)
        for line in (chunk or b"").decode().splitlines():
            if line.startswith("data: {"):
                self.events.append(json.loads(line.removeprefix("data: ")))
            self.pings += line == ": ping"
        return chunk is not None

    def until(self, deltas: int) -> Reading:
        """Read so many pieces of text, or to the end; at least the first event."""
        while (not self.events or len(self.deltas) < deltas) and self.read():
            pass
        return self

    def rest(self) -> Reading:
        """Read to the end."""
        while self.read():
            pass
        return self

    def hang_up(self) -> Reading:
        """Leave."""
        self._chunks.close()
        return self

    @property
    def deltas(self) -> list[Any]:
        """The events that bring text."""
        return [event for event in self.events if event["type"] == DELTA]

    @property
    def id(self) -> str:
        """The response's id, as its first event tells it."""
        return str(self.events[0]["response"]["id"])

    @property
    def last(self) -> int:
        """The number of the last event read."""
        return int(self.events[-1]["sequence_number"])


def ask(door: Door, **body: Any) -> Reading:
    """Begin a streamed turn."""
    return Reading(door, "POST", RESPONSES, {"model": MODEL, "stream": True, **body})


def again(door: Door, response_id: str, starting_after: int | None = None, **headers: str) -> Reading:
    """Ask for a response's events again."""
    query = "" if starting_after is None else f"&starting_after={starting_after}"
    return Reading(door, "GET", f"{RESPONSES}/{response_id}?stream=true{query}", **headers)


def told(events: list[Any]) -> list[Any]:
    """What of some events is the same for every response that says the same."""
    return [
        (event["sequence_number"], event["type"], event.get("delta"), event.get("logprobs"))
        for event in events
    ]


def text_of(response: Any) -> str:
    """A response's text."""
    return str(response["output"][0]["content"][0]["text"])
