"""A conversation with everything that is stored of it, page by page; an extension of ours."""

from __future__ import annotations

from typing import Any, Literal

from handler.schema.conversations import ConversationObject
from handler.schema.fields import Answer
from handler.schema.items import ShownItem


class ExportedItem(Answer):
    """An item as OpenAI writes it, fit to be sent to `POST /v1/conversations`, and what else is kept."""

    seq: int
    created_at: int
    response_id: str | None
    continues: str | None
    token_ids: list[int]
    sampling: dict[str, Any]
    item: ShownItem


class ExportedResponse(Answer):
    """A response as it was given, and what is kept to continue it."""

    response: dict[str, Any]
    state: dict[str, Any]


class ConversationExport(Answer):
    """A page of a conversation, oldest items first; `last_seq` is the next page's `after`."""

    object: Literal["conversation.export"] = "conversation.export"
    conversation: ConversationObject
    data: list[ExportedItem]
    responses: list[ExportedResponse]
    incomplete: bool
    last_seq: int
    has_more: bool
