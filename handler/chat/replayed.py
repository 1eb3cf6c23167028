"""The events of a turn that has been stored, for a client that asks for them again.

The text comes as one delta.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

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


def replayed(response: ResponseObject) -> Iterator[Event]:
    """Give the events of a stored response, opening, text and closing."""
    number = count()
    beginning = response.model_copy(
        update={
            "status": "in_progress",
            "completed_at": None,
            "incomplete_details": None,
            "output": [],
            "usage": None,
            "dormouse": None,
        }
    )
    item = response.output[0]
    part = item.content[0] if item.content else OutputText(text="")
    assert isinstance(part, OutputText)
    yield ResponseEvent(type="response.created", sequence_number=next(number), response=beginning)
    yield ResponseEvent(type="response.in_progress", sequence_number=next(number), response=beginning)
    yield OutputItemEvent(
        type="response.output_item.added",
        sequence_number=next(number),
        item=item.model_copy(update={"status": "in_progress", "content": []}),
    )
    yield ContentPartEvent(
        type="response.content_part.added",
        sequence_number=next(number),
        item_id=item.id,
        part=OutputText(text=""),
    )
    if part.text:
        yield TextDeltaEvent(
            sequence_number=next(number), item_id=item.id, delta=part.text, logprobs=part.logprobs
        )
    yield TextDoneEvent(sequence_number=next(number), item_id=item.id, text=part.text, logprobs=part.logprobs)
    yield ContentPartEvent(
        type="response.content_part.done", sequence_number=next(number), item_id=item.id, part=part
    )
    yield OutputItemEvent(type="response.output_item.done", sequence_number=next(number), item=item)
    yield ResponseEvent(
        type="response.completed" if response.status == "completed" else "response.incomplete",
        sequence_number=next(number),
        response=response,
    )
