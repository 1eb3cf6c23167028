"""Results answer calls: by whichever API they come, what answers none is refused.

Knows nothing of which functions there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from handler.chat.messages import Call, Message
from handler.errors import InvalidValue
from handler.schema.messages import AssistantInput, ChatMessage, ToolMessage
from handler.sessions import Item


def messages_of(given: Sequence[ChatMessage]) -> list[Message]:
    """A chat completion's messages -> what the chat template is given.

    Raises: InvalidRequest for a result that answers no call, or another function's.
    """
    messages: list[Message] = []
    made: dict[str, str] = {}
    for at, message in enumerate(given):
        if isinstance(message, ToolMessage):
            called = made.get(message.tool_call_id)
            if called is None:
                raise _no_call(message.tool_call_id, f"messages[{at}].tool_call_id")
            if message.name not in (None, called):
                raise InvalidValue(
                    f"the call that it answers is one of {called!r}", param=f"messages[{at}].name"
                )
            messages.append(Message("tool", message.text, call_id=message.tool_call_id))
            continue
        calls: tuple[Call, ...] = ()
        if isinstance(message, AssistantInput):
            calls = tuple(
                Call(call.id, call.function.name, call.function.arguments)
                for call in message.tool_calls or ()
            )
            made.update((call.id, call.name) for call in calls)
        messages.append(Message(message.role, message.text, calls=calls))
    return messages


def check_results(before: Iterable[Item], new: Sequence[Item], where: str) -> None:
    """Refuse a result that answers no call. Raises: InvalidRequest, of the item in the request's `where`."""
    made = {item.fields["call_id"] for item in before if _is_call(item)}
    for at, item in enumerate(new):
        if _is_call(item):
            made.add(item.fields["call_id"])
        elif item.type == "function_call_output" and item.fields["call_id"] not in made:
            raise _no_call(item.fields["call_id"], f"{where}[{at}].call_id")


def _is_call(item: Item) -> bool:
    return item.type == "function_call" and item.status == "completed"


def _no_call(call_id: str, param: str) -> InvalidValue:
    return InvalidValue(f"there is no call {call_id[:64]!r} before it that it could answer", param=param)
