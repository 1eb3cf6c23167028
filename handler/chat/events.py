"""The order of events in a streamed response: opening, deltas, closing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any, Protocol

from handler.schema.events import (
    ContentPartEvent,
    Event,
    OutputItemEvent,
    ResponseEvent,
    TextDeltaEvent,
    TextDoneEvent,
)
from handler.schema.items import MessageItem, OutputText, Status
from handler.schema.responses import ResponseObject


class Telling(Protocol):
    """An answer that is told: a turn under way, or a stored one."""

    @property
    def item_id(self) -> str:
        """The id of its message."""

    def item(self, status: Status) -> MessageItem:
        """Its message so far."""

    def beginning(self) -> ResponseObject:
        """The response before anything is said."""


class TurnEvents:
    """Makes a turn's events and numbers them; the same answer in the same pieces gives the same events."""

    def __init__(self, turn: Telling) -> None:
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
        item = body.output[0]
        part = item.content[0]
        assert isinstance(part, OutputText)
        yield TextDoneEvent(
            sequence_number=next(self._numbers), item_id=item.id, text=part.text, logprobs=part.logprobs
        )
        yield ContentPartEvent(
            type="response.content_part.done",
            sequence_number=next(self._numbers),
            item_id=item.id,
            part=part,
        )
        yield OutputItemEvent(
            type="response.output_item.done", sequence_number=next(self._numbers), item=item
        )
        yield ResponseEvent(
            type="response.completed" if body.status == "completed" else "response.incomplete",
            sequence_number=next(self._numbers),
            response=body,
        )
