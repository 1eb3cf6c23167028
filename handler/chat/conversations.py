"""Conversations and their items: create, read, change, delete, page through."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from pydantic import BaseModel

from handler.chat.budget import Budget, Caller
from handler.chat.calls import check_results
from handler.chat.erasure import copies
from handler.chat.outcome import Outcome
from handler.chat.pages import items_page, page_of
from handler.chat.references import resolved
from handler.chat.retries import Attempt, Retries
from handler.chat.terms import Terms
from handler.chat.translate import conversation_object, item_of, new_id, shown, title_of
from handler.errors import NotFound, VersionConflict
from handler.schema.conversations import (
    ConversationCreate,
    ConversationDeleted,
    ConversationList,
    ConversationObject,
    ConversationUpdate,
    ItemsCreate,
)
from handler.schema.items import ItemList, MessageItem, ShownItem, item_list
from handler.sessions import MAX_PAGE_ITEMS, Conversation, Item, SessionStore

Order = Literal["asc", "desc"]


@dataclass(frozen=True)
class Conversations:
    """`/v1/conversations`; hidden ones, the threads of responses, are listed where they are asked for."""

    store: SessionStore
    retries: Retries
    now_s: Callable[[], float]
    budget: Callable[[Caller], Budget]

    def create(
        self, caller: Caller, request: ConversationCreate, terms: Terms
    ) -> Outcome[ConversationObject]:
        """Begin a conversation, with its first items perhaps. Raises: StillRunning, Conflict.

        Without items and key every request is like the next one's and none is taken for another: an empty
        conversation more harms nobody, one that two people share does.
        """
        if not request.items and terms.key is None:
            bare = Conversation(new_id("conv"), int(self.now_s()), request.metadata or {})
            return _shown(self.store.create(caller.tenant, bare))
        given = [*resolved(self.store, caller.tenant, request.items or [], "items")]
        attempt = self._attempt(caller, "POST /v1/conversations", request, terms)
        earlier = attempt.earlier()
        conversation_id, now = _created(earlier) if earlier else (new_id("conv"), int(self.now_s()))
        items = [item_of(each, now, None) for each in given]
        head = Conversation(
            id=conversation_id, created_at_s=now, metadata=request.metadata or {}, title=title_of(items)
        )
        if earlier is None:
            with attempt.under_way():
                check_results((), items, "items")
                attempt.begin(None, noted=False)
                claim = attempt.claim(f"{conversation_id} {now}")
                self.store.create(caller.tenant, head, items, claim=claim)
        # Made of what was asked, not of what is stored: a repetition gets the same, whatever came since.
        made = replace(head, version=1, last_seq=len(items), updated_at_s=now)
        return Outcome(conversation_object(made), replayed=earlier is not None, version=made.version)

    def list(
        self, tenant: str, limit: int, after: str | None, order: Order, *, hidden: bool = False
    ) -> ConversationList:
        """Page through the tenant's conversations. Raises: NotFound for an unknown `after`."""
        try:
            page = self.store.conversations(tenant, limit=limit, after=after, order=order, hidden=hidden)
        except NotFound as error:
            raise NotFound(error.message, param="after") from error
        data, is_cut = page_of(map(conversation_object, page.data))
        first, last = (data[0].id, data[-1].id) if data else (None, None)
        return ConversationList(data=data, first_id=first, last_id=last, has_more=is_cut or page.has_more)

    def retrieve(self, tenant: str, conversation_id: str) -> Outcome[ConversationObject]:
        """Read one. Raises: NotFound."""
        return _shown(self.store.get(tenant, conversation_id))

    def update(
        self, tenant: str, conversation_id: str, request: ConversationUpdate, terms: Terms
    ) -> Outcome[ConversationObject]:
        """Replace its metadata. Raises: NotFound, VersionConflict."""
        version = self._version(tenant, conversation_id, terms)
        metadata = request.metadata or {}
        return _shown(self.store.update(tenant, conversation_id, metadata=metadata, if_version=version))

    def delete(self, tenant: str, conversation_id: str, terms: Terms) -> ConversationDeleted:
        """Delete it with all its items. Raises: NotFound, VersionConflict."""
        try:
            version = self._version(tenant, conversation_id, terms)
        except NotFound:  # an earlier call may have broken off when nothing with a version was left
            version = None
        self.store.delete(tenant, conversation_id, if_version=version)
        return ConversationDeleted(id=conversation_id)

    def add_items(
        self, caller: Caller, conversation_id: str, request: ItemsCreate, terms: Terms
    ) -> Outcome[ItemList]:
        """Add items at its end. Raises: NotFound, VersionConflict, StillRunning, Conflict."""
        name = f"POST /v1/conversations/{conversation_id}/items"
        given = [*resolved(self.store, caller.tenant, request.items, "items")]
        attempt = self._attempt(caller, name, request, terms)
        earlier = attempt.earlier(conversation_id)
        now = int(self.now_s())
        items = [item_of(each, now, None) for each in given]
        if earlier is not None:
            at, *ids = earlier.split()
            items = [replace(item, id=id) for item, id in zip(items, ids, strict=True)]
            return Outcome(_page(items), replayed=True, version=int(at))
        with attempt.under_way():
            conversation = self.store.get(caller.tenant, conversation_id)
            terms.version(lambda: conversation.version)
            conversation = self.store.renew(caller.tenant, conversation)
            if any(item.type == "function_call_output" for item in items):
                newest = self.store.window(caller.tenant, conversation, max_items=MAX_PAGE_ITEMS)
                check_results(newest.items, items, "items")
            attempt.begin(conversation.version, noted=False)
            version = conversation.version + 1
            claim = attempt.claim(" ".join([str(version), *(item.id for item in items)]))
            self.store.append(caller.tenant, conversation, items, claim=claim)
        return Outcome(_page(items), version=version)

    def items(
        self,
        tenant: str,
        conversation_id: str,
        limit: int,
        after: str | None,
        order: Order,
        *,
        logprobs: bool = False,
    ) -> ItemList:
        """Page through its items. Raises: NotFound."""
        try:
            page = self.store.items(tenant, conversation_id, limit=limit, after=after, order=order)
        except NotFound as error:
            self.store.get(tenant, conversation_id)  # raises by itself where this is what is not there
            raise NotFound(error.message, param="after") from error
        show = partial(self._with_logprobs, tenant) if logprobs else shown
        return items_page(page.data, has_more=page.has_more, show=show)

    def item(self, tenant: str, conversation_id: str, item_id: str, *, logprobs: bool = False) -> ShownItem:
        """Read one item. Raises: NotFound."""
        item = self.store.item(tenant, conversation_id, item_id)
        return self._with_logprobs(tenant, item) if logprobs else shown(item)

    def _with_logprobs(self, tenant: str, item: Item) -> ShownItem:
        """An answer's are kept with its response alone, and deleted with it."""
        if item.role == "assistant" and item.response_id is not None:
            with suppress(NotFound):
                output = self.store.response(tenant, item.response_id).body["output"]
                for told in output:
                    if told["id"] == item.id:
                        return MessageItem.stored(told)
        return shown(item)

    def delete_item(
        self, tenant: str, conversation_id: str, item_id: str, terms: Terms
    ) -> Outcome[ConversationObject]:
        """Delete one item, and what else of the conversation holds it; the item last, so that a call that
        broke off can be made again.

        Raises: NotFound, VersionConflict.
        """
        while True:
            held = self.store.get(tenant, conversation_id)
            if terms.if_match is not None:
                terms.if_match.check(held.version)
            with suppress(VersionConflict):  # a turn came in between; somebody made progress, so this ends
                return _shown(self._delete_item(tenant, held, item_id))

    def _delete_item(self, tenant: str, held: Conversation, item_id: str) -> Conversation:
        item = self.store.item(tenant, held.id, item_id)
        for copy in copies(self.store, tenant, held, item):
            self.store.redact(tenant, held, copy)
        title = "" if held.title == title_of([item]) else None
        return self.store.delete_item(tenant, held.id, item_id, title=title, if_version=held.version)

    def _attempt(self, caller: Caller, name: str, request: BaseModel, terms: Terms) -> Attempt:
        return self.retries.attempt(self.budget(caller), name, request, terms)

    def _version(self, tenant: str, conversation_id: str, terms: Terms) -> int | None:
        return terms.version(lambda: self.store.get(tenant, conversation_id).version)


def _shown(conversation: Conversation) -> Outcome[ConversationObject]:
    return Outcome(conversation_object(conversation), version=conversation.version)


def _page(items: list[Item]) -> ItemList:
    return item_list([shown(item) for item in items], has_more=False)


def _created(result: str) -> tuple[str, int]:
    conversation_id, created_at_s = result.split()
    return conversation_id, int(created_at_s)
