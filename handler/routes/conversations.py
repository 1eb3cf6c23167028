"""`/v1/conversations` and their items."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.event_handler import Response

from handler.chat.conversations import Conversations
from handler.routes.table import After, CurrentCaller, Endpoint, Limit, Order, later
from handler.schema.conversations import (
    ConversationCreate,
    ConversationDeleted,
    ConversationList,
    ConversationObject,
    ConversationUpdate,
    ItemsCreate,
)
from handler.schema.items import AnyItem, ItemList


class ConversationRoutes:
    """OpenAI's eight calls, and a listing."""

    def __init__(self, conversations: Conversations) -> None:
        self._conversations = conversations

    def endpoints(self) -> list[Endpoint]:
        """The routes, as data."""
        root, one, tag = "/v1/conversations", "/v1/conversations/<conversation_id>", "Conversations"
        items, item = f"{one}/items", f"{one}/items/<item_id>"
        return [
            Endpoint("POST", root, self.create_conversation, "Begin one", tag, ConversationObject),
            Endpoint("GET", root, self.list_conversations, "Page through them", tag, ConversationList),
            Endpoint("GET", one, self.retrieve_conversation, "Read one", tag, ConversationObject),
            Endpoint("POST", one, self.update_conversation, "Set its metadata", tag, ConversationObject),
            Endpoint("DELETE", one, self.delete_conversation, "Delete it", tag, ConversationDeleted),
            Endpoint("POST", items, self.create_items, "Add items", tag, ItemList),
            Endpoint("GET", items, self.list_items, "Page through its items", tag, ItemList),
            Endpoint("GET", item, self.retrieve_item, "Read an item", tag, AnyItem),
            Endpoint("DELETE", item, self.delete_item, "Delete an item", tag, ConversationObject),
        ]

    def create_conversation(self, caller: CurrentCaller, body: ConversationCreate) -> Response[Any]:
        """Empty, or with items."""
        return later(lambda: self._conversations.create(caller.tenant, body))

    def list_conversations(
        self, caller: CurrentCaller, limit: Limit = 20, after: After = None, order: Order = "desc"
    ) -> Response[Any]:
        """Newest first; an extension of ours."""
        return later(lambda: self._conversations.list(caller.tenant, limit, after, order))

    def retrieve_conversation(self, caller: CurrentCaller, conversation_id: str) -> Response[Any]:
        """Its head alone."""
        return later(lambda: self._conversations.retrieve(caller.tenant, conversation_id))

    def update_conversation(
        self, caller: CurrentCaller, conversation_id: str, body: ConversationUpdate
    ) -> Response[Any]:
        """The metadata is replaced whole."""
        return later(lambda: self._conversations.update(caller.tenant, conversation_id, body))

    def delete_conversation(self, caller: CurrentCaller, conversation_id: str) -> Response[Any]:
        """With all its items."""
        return later(lambda: self._conversations.delete(caller.tenant, conversation_id))

    def create_items(self, caller: CurrentCaller, conversation_id: str, body: ItemsCreate) -> Response[Any]:
        """At its end, in one write."""
        return later(lambda: self._conversations.add_items(caller.tenant, conversation_id, body))

    def list_items(
        self,
        caller: CurrentCaller,
        conversation_id: str,
        limit: Limit = 20,
        after: After = None,
        order: Order = "desc",
    ) -> Response[Any]:
        """Newest first unless told otherwise."""
        return later(lambda: self._conversations.items(caller.tenant, conversation_id, limit, after, order))

    def retrieve_item(self, caller: CurrentCaller, conversation_id: str, item_id: str) -> Response[Any]:
        """One of its own items."""
        return later(lambda: self._conversations.item(caller.tenant, conversation_id, item_id))

    def delete_item(self, caller: CurrentCaller, conversation_id: str, item_id: str) -> Response[Any]:
        """The answer is the conversation, as OpenAI has it."""
        return later(lambda: self._conversations.delete_item(caller.tenant, conversation_id, item_id))
