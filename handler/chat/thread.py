"""Where a response's turn goes: which conversation it reads, and which it is added to.

    conversation=C            reads and appends to C; another writer in between means 409
    previous_response_id=R    appends to R's hidden thread if R is its tip, else forks it there
    neither                   a new hidden thread
    store=False               reads the same, appends nowhere

A fork shares its ancestors' items instead of copying them, so branching from any response costs one write.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from handler.chat.terms import IfMatch
from handler.chat.translate import new_id
from handler.errors import NotFound, VersionConflict
from handler.schema.responses import ResponseInput
from handler.sessions import Claim, Conversation, Item, SessionStore, StoredResponse, Usage

TOKENS_PER_MESSAGE = 4
"""The least that a chat template spends on a message: a window of `context / 4` items is never short."""
MAX_WINDOW_ITEMS = 1000
MAX_LEADING_ITEMS = 4
"""So many instructions at the beginning of a conversation are read beside a window that leaves them out."""


@dataclass(frozen=True)
class Thread:
    """What was said before, and the place of what is said next."""

    conversation: Conversation
    items: tuple[Item, ...]
    older_left_out: bool
    """There are more items than a window may hold."""
    at_seq: int
    named: bool
    """The client named the conversation, so that a race for it is the client's to resolve."""
    incomplete: bool = False
    """Items of an ancestor are gone, deleted or expired: no fault of the request's."""


class Threads:
    """Opens threads and adds turns to them."""

    def __init__(self, store: SessionStore, context_tokens: int) -> None:
        self._store = store
        self._max_items = min(max(context_tokens // TOKENS_PER_MESSAGE, 2), MAX_WINDOW_ITEMS)

    def open(
        self, tenant: str, request: ResponseInput, created_at_s: int, if_match: IfMatch | None = None
    ) -> Thread:
        """Find the place and read its newest items. Raises: NotFound, PreconditionFailed."""
        if request.conversation_id is not None:
            try:
                conversation = self._store.get(tenant, request.conversation_id)
            except NotFound as error:
                raise NotFound(error.message, param="conversation") from error
            if if_match is not None:
                if_match.check(conversation.version)
            return self._read(tenant, conversation, conversation.last_seq, named=True)
        if request.previous_response_id is not None:
            try:
                previous = self._store.response(tenant, request.previous_response_id)
                conversation = self._store.get(tenant, previous.conversation_id)
            except NotFound as error:
                raise NotFound(error.message, param="previous_response_id") from error
            return self._read(tenant, conversation, previous.last_seq, named=False)
        fresh = Conversation(id=new_id("conv"), created_at_s=created_at_s, hidden=True)
        return Thread(fresh, (), older_left_out=False, at_seq=0, named=False)

    def append(
        self,
        tenant: str,
        thread: Thread,
        items: Sequence[Item],
        response: StoredResponse,
        usage: Usage,
        claim: Claim | None = None,
    ) -> Conversation:
        """Add a turn in one write.

        Raises: VersionConflict where the client named the conversation and somebody else wrote to it first.
        """
        head = thread.conversation
        if not thread.named and (thread.at_seq != head.last_seq or (head.version and not head.hidden)):
            return self._fork(tenant, thread, head, items, response, usage, claim)
        try:
            return self._store.append(tenant, head, items, response=response, usage=usage, claim=claim)
        except VersionConflict:
            if thread.named:
                raise
            # Two went on from the same response at once: both are right, so the later one becomes a branch.
            current = self._store.get(tenant, head.id)
            return self._fork(tenant, thread, current, items, response, usage, claim)

    def _fork(
        self,
        tenant: str,
        thread: Thread,
        head: Conversation,
        items: Sequence[Item],
        response: StoredResponse,
        usage: Usage,
        claim: Claim | None,
    ) -> Conversation:
        branch = head.fork(new_id("conv"), at_seq=thread.at_seq, created_at_s=response.created_at_s)
        moved = dataclasses.replace(response, conversation_id=branch.id)
        return self._store.append(tenant, branch, items, response=moved, usage=usage, claim=claim)

    def _read(self, tenant: str, conversation: Conversation, at_seq: int, *, named: bool) -> Thread:
        conversation = self._store.renew(tenant, conversation)
        window = self._store.window(tenant, conversation, max_items=self._max_items, upto_seq=at_seq)
        items = window.items
        if window.has_more:
            items = (*self._leading(tenant, conversation, items[0].seq), *items)
        return Thread(conversation, items, window.has_more, at_seq, named, window.incomplete)

    def _leading(self, tenant: str, conversation: Conversation, before_seq: int) -> Iterator[Item]:
        """Read the instructions that a conversation begins with, which hold however long it grows."""
        upto = min(MAX_LEADING_ITEMS, before_seq - 1)
        begins = self._store.window(tenant, conversation, max_items=upto, upto_seq=upto)
        return takewhile(lambda item: item.role in ("system", "developer"), begins.items)
