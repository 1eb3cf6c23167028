"""Conversations: their requests and answers.

Source: https://platform.openai.com/docs/api-reference/conversations. Listing conversations is an extension of
ours, in the shape of OpenAI's other lists.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from handler.schema.fields import Answer, Metadata, Request
from handler.schema.items import MAX_ITEMS_PER_CALL, InputItem


class ConversationCreate(Request):
    """The body of `POST /v1/conversations`."""

    items: Annotated[list[InputItem], Field(max_length=MAX_ITEMS_PER_CALL)] | None = None
    metadata: Metadata | None = None


class ConversationUpdate(Request):
    """The body of `POST /v1/conversations/{conversation_id}`."""

    metadata: Metadata | None


class ItemsCreate(Request):
    """The body of `POST /v1/conversations/{conversation_id}/items`."""

    items: Annotated[list[InputItem], Field(min_length=1, max_length=MAX_ITEMS_PER_CALL)]


class ConversationFacts(Answer):
    """What OpenAI has no field for."""

    title: str
    updated_at: int
    version: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int


class ConversationObject(Answer):
    """A conversation."""

    id: str
    object: Literal["conversation"] = "conversation"
    created_at: int
    metadata: dict[str, str]
    dormouse: ConversationFacts


class ConversationList(Answer):
    """A page of conversations, newest first."""

    object: Literal["list"] = "list"
    data: list[ConversationObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ConversationDeleted(Answer):
    """The conversation and all its items are gone."""

    id: str
    object: Literal["conversation.deleted"] = "conversation.deleted"
    deleted: Literal[True] = True
