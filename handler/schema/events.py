"""The events of a streamed response, and how any event becomes bytes.

Source: https://platform.openai.com/docs/api-reference/responses-streaming; the framing is that of
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, PlainSerializer

from handler.schema.chat_completions import TokenLogprob
from handler.schema.fields import Answer
from handler.schema.items import OutputItem, OutputText
from handler.schema.responses import ResponseObject
from handler.schema.service import ErrorFacts

DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"
"""A comment: keeps proxies awake while the prompt is computed, and every client skips it."""


class Event(Answer):
    """One step of a stream; `sequence_number` rises by one from 0."""

    type: str
    sequence_number: int


class ResponseEvent(Event):
    """The response as a whole changes state."""

    type: Literal[
        "response.created",
        "response.in_progress",
        "response.completed",
        "response.incomplete",
        "response.failed",
    ]
    response: ResponseObject


class OutputItemEvent(Event):
    """An item begins or ends."""

    type: Literal["response.output_item.added", "response.output_item.done"]
    output_index: int = 0
    item: OutputItem


class ContentPartEvent(Event):
    """A part of an item begins or ends."""

    type: Literal["response.content_part.added", "response.content_part.done"]
    item_id: str
    output_index: int = 0
    content_index: int = 0
    part: OutputText


def _without_bytes(entries: list[TokenLogprob]) -> list[dict[str, Any]]:
    return [
        entry.model_dump(exclude={"bytes": True, "top_logprobs": {"__all__": {"bytes": True}}})
        for entry in entries
    ]


# OpenAI's items have a token's bytes, its events do not.
EventLogprobs = Annotated[list[TokenLogprob], PlainSerializer(_without_bytes)]


class TextDeltaEvent(Event):
    """Text comes."""

    type: Literal["response.output_text.delta"] = "response.output_text.delta"
    item_id: str
    output_index: int = 0
    content_index: int = 0
    delta: str
    logprobs: EventLogprobs = Field(default_factory=list)


class TextDoneEvent(Event):
    """All text has come."""

    type: Literal["response.output_text.done"] = "response.output_text.done"
    item_id: str
    output_index: int = 0
    content_index: int = 0
    text: str
    logprobs: EventLogprobs = Field(default_factory=list)


class ArgumentsDeltaEvent(Event):
    """Arguments of a call come."""

    type: Literal["response.function_call_arguments.delta"] = "response.function_call_arguments.delta"
    item_id: str
    output_index: int
    delta: str


class ArgumentsDoneEvent(Event):
    """All arguments of a call have come."""

    type: Literal["response.function_call_arguments.done"] = "response.function_call_arguments.done"
    item_id: str
    output_index: int
    name: str
    arguments: str


class ErrorEvent(Event):
    """The stream ends here, because of this.

    As documented, and once more in `error`, as OpenAI tells it: its clients raise that, and nothing else.
    """

    type: Literal["error"] = "error"
    code: str | None
    message: str
    param: str | None
    error: ErrorFacts


def response_event(event: Event) -> bytes:
    """Frame an event of the Responses API: its type is also the `event:` line."""
    return f"event: {event.type}\ndata: {event.model_dump_json()}\n\n".encode()


def data_event(data: BaseModel | dict[str, Any]) -> bytes:
    """Frame a chunk of the completions APIs, which have no `event:` line."""
    text = data.model_dump_json() if isinstance(data, BaseModel) else json.dumps(data, ensure_ascii=False)
    return f"data: {text}\n\n".encode()
