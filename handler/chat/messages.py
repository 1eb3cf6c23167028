"""What was said before, as an answer is made of it, and how chat templates read it.

Knows nothing of ids, of where messages come from, or of how many fit.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Call:
    """A call that the model made, with its arguments as JSON in a string."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Message:
    """What the chat template is given; of a stored one, its items and the response it belongs to.

    A result (role `tool`) names the call that it answers.
    """

    role: str
    content: str
    item_ids: tuple[str, ...] = ()
    response_id: str | None = None
    calls: tuple[Call, ...] = ()
    call_id: str | None = None


def template_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Write messages in the shape that chat templates read.

    Most of them know no developer, and drop what one says without a word: it is the system's to them.

    Source: https://huggingface.co/docs/transformers/chat_extras
    """
    names: dict[str | None, str] = {}
    written: list[dict[str, Any]] = []
    for before, message in zip((None, *messages), messages, strict=False):
        if before is not None and _is_one(before, message):
            written[-1]["content"] += f"\n\n{message.content}"
            continue
        role = "system" if message.role == "developer" else message.role
        plain: dict[str, Any] = {"role": role, "content": message.content}
        if message.calls:
            names.update((call.id, call.name) for call in message.calls)
            plain["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": _parsed(call.arguments)},
                }
                for call in message.calls
            ]
        if message.role == "tool":
            plain |= {"tool_call_id": message.call_id, "name": names.get(message.call_id, "")}
        written.append(plain)
    return written


def _is_one(before: Message, message: Message) -> bool:
    """Tell whether a message is written as the rest of the one before it.

    A developer's beside the system's, since templates may have a place for one of them; a user's of another
    turn, since no answer is between the two and templates may want roles to alternate.
    """
    if message.role == before.role == "user":
        return before.response_id not in (None, message.response_id)
    roles = {before.role, message.role}
    return "developer" in roles and roles <= {"system", "developer"}


def _parsed(arguments: str) -> Any:
    """Read arguments; an escaped lone surrogate, which is no character, is replaced."""
    text = json.dumps(json.loads(arguments), ensure_ascii=False)
    return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
