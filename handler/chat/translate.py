"""Between what a session store keeps and what OpenAI's JSON says of it; the only file that knows both."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, cast

from handler.chat.messages import Call, Message
from handler.schema.conversations import ConversationFacts, ConversationObject
from handler.schema.items import (
    CallItem,
    CallOutputItem,
    InputCall,
    InputMessage,
    InputText,
    MessageItem,
    OutputItem,
    OutputText,
    Status,
    ToldItem,
)
from handler.sessions import Conversation, Item


def new_id(prefix: str) -> str:
    """Make an unguessable id: `conv_…`, `msg_…`, `resp_…`, `fc_…`, `call_…`."""
    return f"{prefix}_{secrets.token_hex(16)}"


def item_of(given: ToldItem | OutputItem, created_at_s: int, response_id: str | None) -> Item:
    """An item from a client, told or referred to -> an item to be stored, under an id of ours."""
    if isinstance(given, InputMessage | MessageItem):
        kind = "output_text" if given.role == "assistant" else "input_text"
        texts = [given.content] if isinstance(given.content, str) else [part.text for part in given.content]
        return Item(
            id=new_id("msg"),
            created_at_s=created_at_s,
            role=given.role,
            content=[{"type": kind, "text": text} for text in texts],
            response_id=response_id,
        )
    is_call = isinstance(given, InputCall | CallItem)
    fields = (
        {"name": given.name, "arguments": given.arguments}
        if isinstance(given, InputCall | CallItem)
        else {"output": given.text}
    )
    return Item(
        id=new_id("fc" if is_call else "fco"),
        created_at_s=created_at_s,
        type=given.type,
        status="incomplete" if is_call and given.status == "incomplete" else "completed",
        fields={"call_id": given.call_id, **fields},
        response_id=response_id,
    )


def message_of(item: Item) -> Message:
    """A stored item -> what the chat template is given."""
    fields, own = item.fields, (item.id,)
    if item.type == "function_call":
        call = Call(fields["call_id"], fields["name"], fields["arguments"])
        return Message("assistant", "", own, item.response_id, calls=(call,))
    if item.type == "function_call_output":
        return Message("tool", fields["output"], own, item.response_id, call_id=fields["call_id"])
    return Message(item.role or "user", "".join(part["text"] for part in item.content), own, item.response_id)


def shown(item: Item) -> MessageItem | CallItem | CallOutputItem:
    """A stored item -> OpenAI's object."""
    status, fields = cast(Status, item.status), item.fields
    if item.type == "function_call":
        return CallItem(
            id=item.id,
            status=status,
            call_id=fields["call_id"],
            name=fields["name"],
            arguments=fields["arguments"],
        )
    if item.type == "function_call_output":
        return CallOutputItem(id=item.id, status=status, call_id=fields["call_id"], output=fields["output"])
    return MessageItem(
        id=item.id, status=status, role=cast(Any, item.role), content=[_part(part) for part in item.content]
    )


def _part(part: dict[str, Any]) -> OutputText | InputText:
    return OutputText(text=part["text"]) if part["type"] == "output_text" else InputText(text=part["text"])


def conversation_object(conversation: Conversation) -> ConversationObject:
    """A stored conversation -> OpenAI's conversation object."""
    usage = conversation.usage
    return ConversationObject(
        id=conversation.id,
        created_at=conversation.created_at_s,
        metadata=dict(conversation.metadata),
        dormouse=ConversationFacts(
            title=conversation.title,
            updated_at=conversation.updated_at_s,
            version=conversation.version,
            input_tokens=usage.input_tokens,
            cached_tokens=usage.cached_tokens,
            output_tokens=usage.output_tokens,
        ),
    )


def title_of(items: Sequence[Item]) -> str:
    """Name a conversation by the first line that a user wrote in it."""
    for item in items:
        if item.role == "user":
            text = " ".join(message_of(item).content.split())
            return text if len(text) <= 60 else text[:59].rstrip() + "…"
    return ""
