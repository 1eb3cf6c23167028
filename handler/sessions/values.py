"""What a session store keeps, as plain frozen values; it knows neither OpenAI's JSON names nor any database.

A conversation is a head (`Conversation`) and a row of numbered items. Numbers (`seq`) start at 1, grow by one
per item and are never used twice. A fork numbers on from the item it forks at, so that along a lineage the
numbers are one row:

    conv_a   1  2  3  4  5  6
                      └── conv_b  5  6  7       lineage of conv_b: (conv_a, 4)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

MAX_ITEMS_PER_WRITE = 40
"""A write is one DynamoDB transaction: at most 100 actions, two an item, and a few of its own.
Source: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html"""

MAX_WRITE_BYTES = 3_500_000
"""JSON bytes of one write: a DynamoDB transaction carries 4 MB, keys and attribute names included."""

MAX_PAGE_ITEMS = 100
"""What one page of a listing holds at most, as in OpenAI's API."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)

Order = Literal["asc", "desc"]
T = TypeVar("T")


def is_id(text: str) -> bool:
    """Tell whether a store could ever have stored something under this id; anything else is absent."""
    return _ID.fullmatch(text) is not None


@dataclass(frozen=True)
class Usage:
    """Counters that only ever grow."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    requests: int = 0

    @property
    def total_tokens(self) -> int:
        """What a quota counts."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
            self.requests + other.requests,
        )


@dataclass(frozen=True)
class Ancestor:
    """A stretch of history that lies in another conversation: its items up to and including `upto_seq`."""

    conversation_id: str
    upto_seq: int


@dataclass(frozen=True)
class Segment:
    """The numbers of a lineage that lie in one conversation, both ends included."""

    conversation_id: str
    from_seq: int
    upto_seq: int


@dataclass(frozen=True)
class Renewal:
    """How far a round is in which a store gives a conversation's items a fresh retention."""

    begun_s: int = 0
    """When: what it has passed, and what was written since, is kept from then on at least."""
    retention_s: float = -1.0
    """For how long; 0 for ever, and less where there has been no round."""
    place: str = ""
    """Where it goes on; empty when it is over."""


@dataclass(frozen=True)
class Conversation:
    """The head of a conversation, as it was when it was read.

    `version` counts the writes to its items and is what a turn is conditioned on; 0 means not stored yet.
    Title and metadata change without it, so that renaming a conversation does not spoil a turn in progress.
    `hidden` conversations hold the turns of responses that named no conversation; listings leave them out.
    """

    id: str
    created_at_s: int
    metadata: Mapping[str, str] = field(default_factory=dict)
    title: str = ""
    hidden: bool = False
    lineage: tuple[Ancestor, ...] = ()
    """Ancestors, nearest first; each ends before the one ahead of it begins."""
    version: int = 0
    last_seq: int = 0
    usage: Usage = Usage()
    updated_at_s: int = 0
    renewal: Renewal = field(default=Renewal(), compare=False)
    """The store's own note, which says nothing of the conversation."""

    @property
    def first_seq(self) -> int:
        """The number of its own first item, there or not yet."""
        return self.lineage[0].upto_seq + 1 if self.lineage else 1

    def fork(self, fork_id: str, *, at_seq: int, created_at_s: int) -> Conversation:
        """Make the unstored, hidden head of a conversation that goes on after item `at_seq` of this one."""
        if not 0 <= at_seq <= self.last_seq:
            raise ValueError(f"cannot fork at item {at_seq} of {self.last_seq}")
        lineage = tuple(Ancestor(part.conversation_id, part.upto_seq) for part in self.segments(at_seq))
        return Conversation(
            id=fork_id,
            created_at_s=created_at_s,
            hidden=True,
            lineage=lineage,
            last_seq=at_seq,
            renewal=Renewal() if self.renewal.place else self.renewal,
        )

    def segments(self, upto_seq: int) -> tuple[Segment, ...]:
        """List the stretches of history up to an item, newest first: its own, then its ancestors'.

        A stretch that ends where its ancestor's does holds nothing and is left out.
        """
        parts = []
        row = (Ancestor(self.id, self.last_seq), *self.lineage)
        for part, older in zip(row, (*row[1:], Ancestor("", 0)), strict=True):
            end = min(part.upto_seq, upto_seq)
            if end > older.upto_seq:
                parts.append(Segment(part.conversation_id, older.upto_seq + 1, end))
        return tuple(parts)


@dataclass(frozen=True)
class Item:
    """One message, tool call or tool result.

    `content` and `fields` are plain JSON: OpenAI's content parts, and whatever else the item's type has (a
    function call's `name`, `arguments`, `call_id`). The last item of an answer has all of the answer's ids
    as generated, `token_ids`, and its seed and parameters, `sampling`: all that is needed to continue it
    exactly. `continues` names the unfinished item that this one goes on with.
    """

    id: str
    created_at_s: int
    type: str = "message"
    role: str | None = None
    content: Sequence[Any] = ()
    status: str = "completed"
    fields: Mapping[str, Any] = field(default_factory=dict)
    response_id: str | None = None
    token_ids: tuple[int, ...] = ()
    sampling: Mapping[str, Any] = field(default_factory=dict)
    continues: str | None = None
    seq: int = 0
    """Given by the store; 0 before."""


@dataclass(frozen=True)
class StoredResponse:
    """A response as it was sent (`body`), what the next request needs (`state`), where its items lie."""

    id: str
    conversation_id: str
    created_at_s: int
    status: str
    body: Mapping[str, Any]
    state: Mapping[str, Any] = field(default_factory=dict)
    first_seq: int = 0
    """The first item of its write, given by the store; the input items come before the output items."""
    last_seq: int = 0
    """The last item of its write, given by the store: where a fork from this response begins."""


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a listing; the id of its last entry is the next page's `after`."""

    data: tuple[T, ...]
    has_more: bool


@dataclass(frozen=True)
class Window:
    """The newest items of a conversation, oldest first."""

    items: tuple[Item, ...]
    has_more: bool
    """Older items exist that were not asked for."""
    incomplete: bool = False
    """An ancestor's items are gone: deleted, or expired."""


@dataclass(frozen=True)
class Claim:
    """Who may carry out the request with an idempotency key.

    `mine`: the caller, until `until_s`; to be handed to `append`, or given back with `release`.
    `running`: somebody else, until `until_s`. `lapsed`: somebody who has not finished in time, or gave up.
    `done`: it was carried out, and led to `result`.
    """

    key: str
    owner: str
    state: Literal["mine", "running", "lapsed", "done"]
    fingerprint: str
    until_s: float = 0.0
    result: str | None = None
    """Ids of what was made, enough to give the same answer again; said by whoever hands it to `append`."""
