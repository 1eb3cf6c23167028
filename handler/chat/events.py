"""The order of events in a streamed response: opening, deltas, closing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

from handler.chat.turn import Turn
from handler.schema.events import (
    ContentPartEvent,
    Event,
    OutputItemEvent,
    ResponseEvent,
    TextDeltaEvent,
    TextDoneEvent,
)
from handler.schema.items import OutputText
from handler.schema.responses import ResponseObject


class TurnEvents:
    """Makes a turn's events and numbers them."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._numbers = count()

    def opening(self) -> Iterator[Event]:
        """Everything before the first text."""
        turn, response = self._turn, self._turn.beginning()
        yield ResponseEvent(type="response.created", sequence_number=next(self._numbers), response=response)
        yield ResponseEvent(
            type="response.in_progress", sequence_number=next(self._numbers), response=response
        )
        yield OutputItemEvent(
            type="response.output_item.added",
            sequence_number=next(self._numbers),
            item=turn.item("in_progress"),
        )
        yield ContentPartEvent(
            type="response.content_part.added",
            sequence_number=next(self._numbers),
            item_id=turn.item_id,
            part=OutputText(text=""),
        )

    def delta(self, text: str, logprobs: list[Any]) -> Event:
        """A piece of text."""
        return TextDeltaEvent(
            sequence_number=next(self._numbers), item_id=self._turn.item_id, delta=text, logprobs=logprobs
        )

    def closing(self, body: ResponseObject) -> Iterator[Event]:
        """Everything after the last text; the turn has been stored."""
        turn, item = self._turn, body.output[0]
        yield TextDoneEvent(
            sequence_number=next(self._numbers), item_id=item.id, text=turn.text, logprobs=turn.logprobs
        )
        yield ContentPartEvent(
            type="response.content_part.done",
            sequence_number=next(self._numbers),
            item_id=item.id,
            part=turn.part(),
        )
        yield OutputItemEvent(
            type="response.output_item.done", sequence_number=next(self._numbers), item=item
        )
        yield ResponseEvent(
            type="response.completed" if body.status == "completed" else "response.incomplete",
            sequence_number=next(self._numbers),
            response=body,
        )
