"""Conversations and their items: create, read, change, delete, page through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from handler.chat.calls import check_results
from handler.chat.translate import conversation_object, item_of, new_id, shown, title_of
from handler.schema.conversations import (
    ConversationCreate,
    ConversationDeleted,
    ConversationList,
    ConversationObject,
    ConversationUpdate,
    ItemsCreate,
)
from handler.schema.items import ItemList, ShownItem, item_list
from handler.sessions import MAX_PAGE_ITEMS, Conversation, SessionStore

Order = Literal["asc", "desc"]


@dataclass(frozen=True)
class Conversations:
    """`/v1/conversations`; a hidden conversation is nobody's to see under its own id."""

    store: SessionStore
    now_s: Callable[[], float]

    def create(self, tenant: str, request: ConversationCreate) -> ConversationObject:
        """Begin a conversation, with its first items perhaps."""
        now = int(self.now_s())
        items = [item_of(given, now, None) for given in request.items or []]
        check_results((), items, "items")
        head = Conversation(
            id=new_id("conv"), created_at_s=now, metadata=request.metadata or {}, title=title_of(items)
        )
        return conversation_object(self.store.create(tenant, head, items))

    def list(self, tenant: str, limit: int, after: str | None, order: Order) -> ConversationList:
        """Page through the tenant's conversations. Raises: NotFound for an unknown `after`."""
        page = self.store.conversations(tenant, limit=limit, after=after, order=order)
        data = [conversation_object(conversation) for conversation in page.data]
        first, last = (data[0].id, data[-1].id) if data else (None, None)
        return ConversationList(data=data, first_id=first, last_id=last, has_more=page.has_more)

    def retrieve(self, tenant: str, conversation_id: str) -> ConversationObject:
        """Read one. Raises: NotFound."""
        return conversation_object(self.store.get(tenant, conversation_id))

    def update(self, tenant: str, conversation_id: str, request: ConversationUpdate) -> ConversationObject:
        """Replace its metadata. Raises: NotFound."""
        changed = self.store.update(tenant, conversation_id, metadata=request.metadata or {})
        return conversation_object(changed)

    def delete(self, tenant: str, conversation_id: str) -> ConversationDeleted:
        """Delete it with all its items. Raises: NotFound."""
        self.store.delete(tenant, conversation_id)
        return ConversationDeleted(id=conversation_id)

    def add_items(self, tenant: str, conversation_id: str, request: ItemsCreate) -> ItemList:
        """Add items at its end. Raises: NotFound, VersionConflict."""
        now = int(self.now_s())
        conversation = self.store.get(tenant, conversation_id)
        items = [item_of(given, now, None) for given in request.items]
        if any(item.type == "function_call_output" for item in items):
            newest = self.store.window(tenant, conversation, max_items=MAX_PAGE_ITEMS)
            check_results(newest.items, items, "items")
        self.store.append(tenant, conversation, items)
        return item_list([shown(item) for item in items], has_more=False)

    def items(
        self, tenant: str, conversation_id: str, limit: int, after: str | None, order: Order
    ) -> ItemList:
        """Page through its items. Raises: NotFound."""
        page = self.store.items(tenant, conversation_id, limit=limit, after=after, order=order)
        return item_list([shown(item) for item in page.data], has_more=page.has_more)

    def item(self, tenant: str, conversation_id: str, item_id: str) -> ShownItem:
        """Read one item. Raises: NotFound."""
        return shown(self.store.item(tenant, conversation_id, item_id))

    def delete_item(self, tenant: str, conversation_id: str, item_id: str) -> ConversationObject:
        """Delete one item. Raises: NotFound."""
        return conversation_object(self.store.delete_item(tenant, conversation_id, item_id))
