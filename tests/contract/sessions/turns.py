"""Conversations, items and responses for tests, made short."""

from __future__ import annotations

from typing import Any

from handler.sessions import Conversation, Item, SessionStore, StoredResponse

TENANT = "acme"
NOW_S = 4_000_000_000  # in 2096: servers that delete what has expired go by their own clock


def conversation(id: str = "conv_a", **fields: Any) -> Conversation:
    """An unstored conversation."""
    return Conversation(id=id, **{"created_at_s": NOW_S, **fields})


def message(id: str, text: str = "hello", role: str = "user", **fields: Any) -> Item:
    """A message of one text part."""
    return Item(
        id=id, created_at_s=NOW_S, role=role, content=[{"type": "input_text", "text": text}], **fields
    )


def response(id: str, conversation_id: str = "conv_a", **fields: Any) -> StoredResponse:
    """A completed response with a small body."""
    return StoredResponse(
        id=id,
        conversation_id=conversation_id,
        created_at_s=NOW_S,
        status="completed",
        body=fields.pop("body", {"id": id, "output": [{"text": "你好"}]}),
        **fields,
    )


def grow(store: SessionStore, held: Conversation, turns: int, tenant: str = TENANT) -> Conversation:
    """Append turns of two messages whose ids are their numbers: `msg_<conversation>_<seq>`."""
    for _ in range(turns):
        first = held.last_seq + 1
        held = store.append(
            tenant,
            held,
            [
                message(f"msg_{held.id}_{first}", f"question {first}"),
                message(f"msg_{held.id}_{first + 1}", f"answer {first + 1}", role="assistant"),
            ],
        )
    return held


def seqs(items: tuple[Item, ...]) -> list[int]:
    """The numbers of some items."""
    return [item.seq for item in items]
