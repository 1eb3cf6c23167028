"""Sessions: conversations, their items and responses, and what keeps a turn from being lost or doubled.

`values` says what is kept, `SessionStore` how it is reached; `SqliteSessions` (embedded) and `DynamoSessions`
keep it. Nothing here knows HTTP, OpenAI's JSON or the model; clocks, ids and owners come from the caller.

The life of a turn:

    conversation = store.get(tenant, conversation_id)                    # one read
    conversation = store.renew(tenant, conversation)                     # nothing, but for twice a retention
    window = store.window(tenant, conversation, max_items=200)           # one query, newest first
    ...                                                                  # the model speaks
    store.append(tenant, conversation, [user, assistant], response=...)  # one transaction, or VersionConflict
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from handler.sessions.values import (
    MAX_ITEMS_PER_WRITE,
    MAX_PAGE_ITEMS,
    MAX_WRITE_BYTES,
    Ancestor,
    Claim,
    Conversation,
    Item,
    Order,
    Page,
    StoredResponse,
    Usage,
    Window,
    is_id,
)

__all__ = [
    "MAX_ITEMS_PER_WRITE",
    "MAX_PAGE_ITEMS",
    "MAX_WRITE_BYTES",
    "Ancestor",
    "Claim",
    "Conversation",
    "Item",
    "Order",
    "Page",
    "SessionStore",
    "StoredResponse",
    "Usage",
    "Window",
    "is_id",
]


class SessionStore(Protocol):
    """Keeps the conversations of many tenants; safe to use from several threads and processes at once.

    Every method may raise `Unavailable`: the store cannot be reached now; what was to be written may or may
    not be. An id that is another tenant's, has expired, was deleted or could never be an id is absent: all
    alike `NotFound`. What a method has returned from is durable, and seen by every call that starts later.
    """

    def create(
        self,
        tenant: str,
        conversation: Conversation,
        items: Sequence[Item] = (),
        *,
        claim: Claim | None = None,
    ) -> Conversation:
        """Store a new conversation with its first items, in one write; return it as stored.

        Raises: Conflict where the id is taken or the claim is no longer the caller's; TooLarge.
        """
        ...

    def get(self, tenant: str, conversation_id: str) -> Conversation:
        """Read the head of a conversation. Raises: NotFound."""
        ...

    def update(
        self,
        tenant: str,
        conversation_id: str,
        *,
        metadata: Mapping[str, str] | None = None,
        title: str | None = None,
        if_version: int | None = None,
    ) -> Conversation:
        """Replace the metadata, the title, or both; version and retention stay.

        Raises: NotFound; VersionConflict where it is not at `if_version`.
        """
        ...

    def delete(self, tenant: str, conversation_id: str, *, if_version: int | None = None) -> None:
        """Delete a conversation with its items and their responses.

        It is gone for every reader in one write; its rows are swept before this returns. After an
        `Unavailable` the same call finishes the work. Forks keep their own items; their windows become
        `incomplete`.

        Raises: NotFound; VersionConflict where it is not at `if_version`.
        """
        ...

    def conversations(
        self,
        tenant: str,
        *,
        limit: int = 20,
        after: str | None = None,
        order: Order = "desc",
        hidden: bool = False,
    ) -> Page[Conversation]:
        """List the conversations that are hidden, or not, by creation time, newest first unless told else.

        Raises: NotFound where `after` is none of them.
        """
        ...

    def append(
        self,
        tenant: str,
        conversation: Conversation,
        items: Sequence[Item],
        *,
        response: StoredResponse | None = None,
        usage: Usage | None = None,
        claim: Claim | None = None,
    ) -> Conversation:
        """Write a turn: its items, numbered, its response, its settled claim, and the version raised by one.

        All of it in one transaction, on the condition that the stored version is `conversation.version`.
        Version 0 stores the conversation too: a hidden thread or a fork comes into being with its first turn.
        `usage` is added to the conversation's. Both the conversation's and the new records' retention starts
        afresh. The claim is settled with its `result`; one that nobody has taken yet is stored settled.

        Returns: the conversation as stored. A write that was carried out and whose acknowledgement was lost
        is recognised by its items' ids and returned as done.

        Raises: VersionConflict where another write came first; NotFound where the conversation is gone
        meanwhile; Conflict where an item's or response's id is taken or the claim is no longer the caller's;
        TooLarge over `MAX_ITEMS_PER_WRITE` or `MAX_WRITE_BYTES`.
        """
        ...

    def replace_last(
        self,
        tenant: str,
        conversation: Conversation,
        item: Item,
        *,
        response: StoredResponse,
        usage: Usage | None = None,
    ) -> Conversation:
        """Put an answer that went on where its beginning is: the item, its response, the version raised by
        one.

        All of it in one transaction, on the condition that the stored version is `conversation.version` and
        that the item is the conversation's last: whoever read the shorter answer is refused when it writes.
        Both come as they were read, with their numbers. `usage` and retention as in `append`.

        Returns: the conversation as stored. A write that was carried out and whose acknowledgement was lost
        is recognised by the response, which then is this very one.

        Raises: VersionConflict where another write came first or other items follow; NotFound where the
        conversation, the item or the response is gone; TooLarge.
        """
        ...

    def items(
        self,
        tenant: str,
        conversation_id: str,
        *,
        limit: int = 20,
        after: str | None = None,
        order: Order = "desc",
    ) -> Page[Item]:
        """List a conversation's own items (not its ancestors').

        Raises: NotFound where the conversation is absent or `after` is none of its items.
        """
        ...

    def item(self, tenant: str, conversation_id: str, item_id: str) -> Item:
        """Read one of a conversation's own items. Raises: NotFound."""
        ...

    def delete_item(
        self,
        tenant: str,
        conversation_id: str,
        item_id: str,
        *,
        title: str | None = None,
        if_version: int | None = None,
    ) -> Conversation:
        """Delete one item and raise the version: a turn in progress was made for another history.

        The same write replaces the title where one is given.

        Raises: NotFound; VersionConflict where it is not at `if_version`.
        """
        ...

    def window(
        self, tenant: str, conversation: Conversation, *, max_items: int, upto_seq: int | None = None
    ) -> Window:
        """Read the newest items up to `upto_seq` (else the last one as it was read), ancestors included.

        One query for each stretch of history, however long the conversation.
        """
        ...

    def renew(self, tenant: str, conversation: Conversation) -> Conversation:
        """Keep all that a conversation holds, ancestors' items included, from expiring before it does.

        To be called before each write that begins its retention afresh; for what most of them find done
        there is nothing to pay. Else a bounded number of rows is written, and the next call goes on.

        Returns: the conversation, to go on with.
        """
        ...

    def response(self, tenant: str, response_id: str) -> StoredResponse:
        """Read a response. Raises: NotFound."""
        ...

    def responses(self, tenant: str, conversation_id: str) -> Iterator[StoredResponse]:
        """Read the responses that were made in a conversation, in no order, a few at a time."""
        ...

    def redact(self, tenant: str, conversation: Conversation, value: Item | StoredResponse) -> None:
        """Put what is left of an item or a response in its place: as it was read, with less in it.

        Version and retention stay. What is gone meanwhile is passed over.

        Raises: VersionConflict where the conversation is not at `conversation.version`; NotFound where it is
        gone.
        """
        ...

    def delete_response(self, tenant: str, response_id: str) -> None:
        """Delete a response; its items stay with their conversation. Raises: NotFound."""
        ...

    def request_cancel(self, tenant: str, response_id: str) -> None:
        """Note that a response, perhaps under way in another process, is to end; forgotten by itself.

        There need be no such response, since one under way is stored at its end.
        """
        ...

    def is_cancel_requested(self, tenant: str, response_id: str) -> bool:
        """Tell whether a response is to end: one small read."""
        ...

    def claim(self, tenant: str, key: str, *, owner: str, fingerprint: str, lease_s: float) -> Claim:
        """Take the right to carry out the request with this idempotency key, for `lease_s` seconds.

        `owner` is new for every attempt; `fingerprint` says what the request was. Read `state` of what
        returns. A claim whose lease has run out can be taken by anybody; its former owner's `append` is then
        refused.

        Raises: Conflict where the key was used for a request with another fingerprint.
        """
        ...

    def newest_claim(self, tenant: str, prefix: str, *, since: str) -> Claim | None:
        """Read the claim with the greatest key of those that begin with `prefix`, from `prefix + since` on.

        Its state is never `mine`: nothing is taken.
        """
        ...

    def release(self, tenant: str, claim: Claim) -> None:
        """Give a claim back unused, so that a retry need not wait for the lease; pass over a lost one."""
        ...

    def add_usage(self, tenant: str, period: str, usage: Usage) -> Usage:
        """Add to the tenant's counters of a period (`2026-11-23`) and return their new values."""
        ...

    def usage(self, tenant: str, period: str) -> Usage:
        """Read the tenant's counters of a period; zeros where there are none."""
        ...

    def erase(
        self,
        tenant: str,
        *,
        counted_period: str | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> None:
        """Delete everything of a tenant, all but its counters of `counted_period`.

        After an `Unavailable` the same call finishes the work.

        Raises: Unavailable, too, where `should_stop`, asked between conversations, says yes.
        """
        ...

    def prepare(self) -> None:
        """Read and import what the first call needs, without connecting to anything."""
        ...

    def close(self) -> None:
        """Let go of files and connections; a closed store opens them again when used."""
        ...
