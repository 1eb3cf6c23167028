"""The order of events in a streamed response: opening, what comes of each item, closing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, Protocol

from handler.chat.spoken import Spoken, SpokenText, shown, status_of
from handler.engine.values import Piece
from handler.schema.events import (
    ArgumentsDeltaEvent,
    ArgumentsDoneEvent,
    ContentPartEvent,
    Event,
    OutputItemEvent,
    ResponseEvent,
    TextDeltaEvent,
    TextDoneEvent,
)
from handler.schema.items import CallItem, MessageItem, OutputText
from handler.schema.responses import ResponseObject


class Telling(Protocol):
    """An answer that is told: a turn under way, or a stored one."""

    @property
    def spoken(self) -> Sequence[Spoken]:
        """What it is made of so far; it grows."""

    def beginning(self) -> ResponseObject:
        """The response before anything is said."""


class TurnEvents:
    """Makes a turn's events and numbers them; the same answer in the same pieces gives the same events.

    An item is told to be done when the next one begins, or when the turn has been stored: nobody is to carry
    out a call that is not yet safe.
    """

    def __init__(self, turn: Telling) -> None:
        self._turn = turn
        self._numbers = count()
        self._begun = 0

    def opening(self) -> Iterator[Event]:
        """Everything before the first piece."""
        response = self._turn.beginning()
        yield ResponseEvent(type="response.created", sequence_number=next(self._numbers), response=response)
        yield ResponseEvent(
            type="response.in_progress", sequence_number=next(self._numbers), response=response
        )
        yield from self._begin()

    def grown(self, piece: Piece, logprobs: Sequence[Any]) -> Iterator[Event]:
        """What a piece has added, after the turn has taken it."""
        yield from self._begin()
        index = self._begun - 1
        if piece.text and piece.kind == "text":
            yield TextDeltaEvent(
                sequence_number=next(self._numbers),
                item_id=self._turn.spoken[index].id,
                output_index=index,
                delta=piece.text,
                logprobs=list(logprobs),
            )
        elif piece.kind == "arguments":
            yield self._arguments(index, piece.text)

    def closing(self, body: ResponseObject) -> Iterator[Event]:
        """Everything after the last piece; the turn has been stored."""
        yield from self._begin()
        yield from self._end(self._begun - 1, body.output[-1])
        yield ResponseEvent(
            type="response.completed" if body.status == "completed" else "response.incomplete",
            sequence_number=next(self._numbers),
            response=body,
        )

    def _begin(self) -> Iterator[Event]:
        """Begin the items that are new; one that is taken up from an earlier response comes with its past."""
        while self._begun < len(self._turn.spoken):
            index, spoken = self._begun, self._turn.spoken[self._begun]
            if index:
                before = self._turn.spoken[index - 1]
                yield from self._end(index - 1, shown(before, status_of(before, True)))
            self._begun += 1
            yield OutputItemEvent(
                type="response.output_item.added",
                sequence_number=next(self._numbers),
                output_index=index,
                item=shown(spoken, "in_progress"),
            )
            if isinstance(spoken, SpokenText):
                yield self._part("response.content_part.added", index, spoken.id, OutputText(text=""))
            elif spoken.arguments:
                yield self._arguments(index, spoken.arguments)

    def _end(self, index: int, item: MessageItem | CallItem) -> Iterator[Event]:
        if isinstance(item, MessageItem):
            part = item.content[0]
            assert isinstance(part, OutputText)
            yield TextDoneEvent(
                sequence_number=next(self._numbers),
                item_id=item.id,
                output_index=index,
                text=part.text,
                logprobs=part.logprobs,
            )
            yield self._part("response.content_part.done", index, item.id, part)
        elif item.status == "completed":  # who hears of half a call's arguments might carry it out
            yield ArgumentsDoneEvent(
                sequence_number=next(self._numbers),
                item_id=item.id,
                output_index=index,
                name=item.name,
                arguments=item.arguments,
            )
        yield OutputItemEvent(
            type="response.output_item.done",
            sequence_number=next(self._numbers),
            output_index=index,
            item=item,
        )

    def _arguments(self, index: int, text: str) -> Event:
        return ArgumentsDeltaEvent(
            sequence_number=next(self._numbers),
            item_id=self._turn.spoken[index].id,
            output_index=index,
            delta=text,
        )

    def _part(self, type: Any, index: int, item_id: str, part: OutputText) -> Event:
        return ContentPartEvent(
            type=type, sequence_number=next(self._numbers), item_id=item_id, output_index=index, part=part
        )
