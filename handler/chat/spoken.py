"""What an answer is made of, as it comes: text, and calls of functions.

Owns how pieces grow into items, as they are shown and as they are kept. Knows nothing of events or turns, and
not how items are named.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from handler.engine.values import Piece
from handler.schema.items import CallItem, MessageItem, OutputText, Status
from handler.sessions import Item

Naming = Callable[[Literal["msg", "fc", "call"]], str]
"""Gives an item that begins its id; `call`: the one by which a call's result will refer to it."""


@dataclass
class SpokenText:
    """Text for whoever asked."""

    id: str
    text: str = ""
    logprobs: list[Any] = field(default_factory=list)


@dataclass
class SpokenCall:
    """A call; until it `is_whole`, its arguments are a beginning of JSON."""

    id: str
    call_id: str
    name: str
    arguments: str = ""
    is_whole: bool = False


Spoken = SpokenText | SpokenCall


def take(spoken: list[Spoken], piece: Piece, named: Naming, logprobs: Sequence[Any] = ()) -> None:
    """Let a piece grow what was spoken last, or begin something else."""
    if piece.kind == "name":
        spoken.append(SpokenCall(named("fc"), named("call"), piece.text))
    elif piece.kind == "text":
        if piece.text and not (spoken and isinstance(spoken[-1], SpokenText)):
            spoken.append(SpokenText(named("msg")))
        if spoken and isinstance(last := spoken[-1], SpokenText):
            last.text += piece.text
            last.logprobs.extend(logprobs)
    elif isinstance(last := spoken[-1], SpokenCall):
        last.arguments += piece.text
        last.is_whole = piece.kind == "end"


def status_of(spoken: Spoken, is_over: bool) -> Status:
    """How far it got; `is_over` says of a text whether no more was to come."""
    is_whole = spoken.is_whole if isinstance(spoken, SpokenCall) else is_over
    return "completed" if is_whole else "incomplete"


def shown(spoken: Spoken, status: Status) -> MessageItem | CallItem:
    """Write it as OpenAI's object; while it is in progress, as empty as it began."""
    is_new = status == "in_progress"
    if isinstance(spoken, SpokenCall):
        arguments = "" if is_new else spoken.arguments
        return CallItem(
            id=spoken.id, status=status, call_id=spoken.call_id, name=spoken.name, arguments=arguments
        )
    content = [] if is_new else [OutputText(text=spoken.text, logprobs=spoken.logprobs)]
    return MessageItem(id=spoken.id, status=status, role="assistant", content=list(content))


def kept(spoken: Spoken, status: Status, **facts: Any) -> Item:
    """Write it as the session store's item."""
    if isinstance(spoken, SpokenCall):
        fields = {"call_id": spoken.call_id, "name": spoken.name, "arguments": spoken.arguments}
        return Item(id=spoken.id, type="function_call", status=status, fields=fields, **facts)
    part = {"type": "output_text", "text": spoken.text}
    return Item(id=spoken.id, role="assistant", content=[part], status=status, **facts)


def resumed(item: Item, named: Naming) -> list[Spoken]:
    """A call that was cut, to be told again from its beginning: half a call is of use to nobody."""
    if item.type != "function_call" or item.status == "completed":
        return []
    fields = item.fields
    return [SpokenCall(named("fc"), fields["call_id"], fields["name"], fields["arguments"])]
