"""`/v1/conversations` and their items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Query

from handler.chat.conversations import Conversations
from handler.chat.export import Exports
from handler.chat.outcome import Outcome
from handler.routes.answers import Headed, headed
from handler.routes.headers import IdempotencyKey, IfMatchHeader, terms
from handler.routes.table import (
    After,
    CurrentCaller,
    Endpoint,
    Included,
    IncludedInBrackets,
    Limit,
    Order,
    later,
)
from handler.schema.conversations import (
    ConversationCreate,
    ConversationDeleted,
    ConversationList,
    ConversationObject,
    ConversationUpdate,
    ItemsCreate,
)
from handler.schema.export import ConversationExport
from handler.schema.items import AnyItem, ItemList

AfterSeq = Annotated[int, Query(ge=0, le=2**53, description="`last_seq` of the page before")]
Hidden = Annotated[bool, Query(description="list the threads of responses that named no conversation")]


class ConversationRoutes:
    """OpenAI's eight calls, a listing, and an export."""

    def __init__(self, conversations: Conversations, exports: Exports) -> None:
        self._conversations, self._exports = conversations, exports

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
            Endpoint(
                "GET", f"{one}/export", self.export_conversation, "Take it out whole", tag, ConversationExport
            ),
            Endpoint("POST", items, self.create_items, "Add items", tag, ItemList),
            Endpoint("GET", items, self.list_items, "Page through its items", tag, ItemList),
            Endpoint("GET", item, self.retrieve_item, "Read an item", tag, AnyItem),
            Endpoint("DELETE", item, self.delete_item, "Delete an item", tag, ConversationObject),
        ]

    def create_conversation(
        self, caller: CurrentCaller, body: ConversationCreate, idempotency_key: IdempotencyKey = None
    ) -> Response[Any]:
        """Empty, or with items."""
        asked = terms(idempotency_key)
        return _shown(lambda: self._conversations.create(caller, body, asked))

    def list_conversations(
        self,
        caller: CurrentCaller,
        limit: Limit = 20,
        after: After = None,
        order: Order = "desc",
        hidden: Hidden = False,
    ) -> Response[Any]:
        """Newest first; an extension of ours."""
        return later(lambda: self._conversations.list(caller.tenant, limit, after, order, hidden=hidden))

    def retrieve_conversation(self, caller: CurrentCaller, conversation_id: str) -> Response[Any]:
        """Its head alone."""
        return _shown(lambda: self._conversations.retrieve(caller.tenant, conversation_id))

    def update_conversation(
        self,
        caller: CurrentCaller,
        conversation_id: str,
        body: ConversationUpdate,
        if_match: IfMatchHeader = None,
    ) -> Response[Any]:
        """The metadata is replaced whole."""
        asked = terms(if_match=if_match)
        return _shown(lambda: self._conversations.update(caller.tenant, conversation_id, body, asked))

    def delete_conversation(
        self, caller: CurrentCaller, conversation_id: str, if_match: IfMatchHeader = None
    ) -> Response[Any]:
        """With all its items."""
        asked = terms(if_match=if_match)
        return later(lambda: self._conversations.delete(caller.tenant, conversation_id, asked))

    def export_conversation(
        self, caller: CurrentCaller, conversation_id: str, limit: Limit = 100, after: AfterSeq = 0
    ) -> Response[Any]:
        """Everything that is stored, oldest first; an extension of ours."""
        return later(lambda: self._exports.page(caller.tenant, conversation_id, limit, after))

    def create_items(
        self,
        caller: CurrentCaller,
        conversation_id: str,
        body: ItemsCreate,
        idempotency_key: IdempotencyKey = None,
        if_match: IfMatchHeader = None,
        _include: Included = None,
        _include_in_brackets: IncludedInBrackets = None,
    ) -> Response[Any]:
        """At its end, in one write; what a client adds has no log-probabilities."""
        asked = terms(idempotency_key, if_match)
        return _shown(lambda: self._conversations.add_items(caller, conversation_id, body, asked))

    def list_items(
        self,
        caller: CurrentCaller,
        conversation_id: str,
        limit: Limit = 20,
        after: After = None,
        order: Order = "desc",
        include: Included = None,
        include_in_brackets: IncludedInBrackets = None,
    ) -> Response[Any]:
        """Newest first unless told otherwise."""
        logprobs = bool(include or include_in_brackets)
        return later(
            lambda: self._conversations.items(
                caller.tenant, conversation_id, limit, after, order, logprobs=logprobs
            )
        )

    def retrieve_item(
        self,
        caller: CurrentCaller,
        conversation_id: str,
        item_id: str,
        include: Included = None,
        include_in_brackets: IncludedInBrackets = None,
    ) -> Response[Any]:
        """One of its own items."""
        logprobs = bool(include or include_in_brackets)
        return later(
            lambda: self._conversations.item(caller.tenant, conversation_id, item_id, logprobs=logprobs)
        )

    def delete_item(
        self, caller: CurrentCaller, conversation_id: str, item_id: str, if_match: IfMatchHeader = None
    ) -> Response[Any]:
        """The answer is the conversation, as OpenAI has it."""
        asked = terms(if_match=if_match)
        return _shown(lambda: self._conversations.delete_item(caller.tenant, conversation_id, item_id, asked))


def _shown(work: Callable[[], Outcome[Any]]) -> Response[Any]:
    def headed_work() -> Headed:
        made = work()
        return headed(made, made.value)

    return later(headed_work)
