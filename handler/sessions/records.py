"""The values as JSON text and back, and what a turn writes: the same for every store; it knows no database.

Fields at their default are left out. Unknown fields are passed over, so that a function of the version before
can read what a newer one wrote while a deployment shifts traffic between them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, fields, replace
from typing import Any, Literal

from handler.errors import Conflict, NotFound, RequestError, TooLarge, VersionConflict
from handler.sessions.values import (
    MAX_ITEMS_PER_WRITE,
    MAX_WRITE_BYTES,
    Ancestor,
    Claim,
    Conversation,
    Item,
    StoredResponse,
    Usage,
    is_id,
)

_NUMBERED_BY_STORE = frozenset({"seq", "first_seq", "last_seq"})


CLAIM_RETENTION_S = 24 * 3600
"""How long an idempotency key is remembered."""

USAGE_RETENTION_S = 400 * 24 * 3600
"""How long a tenant's counters are kept: a year of days, and some."""


CANCEL_RETENTION_S = 15 * 60
"""How long a wish to cancel is remembered: no function runs longer, so nobody looks for it afterwards."""


RETENTION_SLACK = 0.5
"""Items are kept longer than their conversation's head by this part of the retention, and renewed once it is
used up: seldom, and yet no item of a conversation in use is gone before the head.
"""


@dataclass(frozen=True)
class Turn:
    """All that one `append` or `replace_last` changes, ready to be written."""

    before: Conversation
    after: Conversation
    items: tuple[Item, ...]
    response: StoredResponse | None
    usage: Usage
    in_place: bool = False
    """The item and the response are there already, and these are their new contents."""

    @classmethod
    def of(
        cls,
        before: Conversation,
        items: Sequence[Item],
        response: StoredResponse | None = None,
        usage: Usage | None = None,
        *,
        now_s: float,
    ) -> Turn:
        """Number the items and the response and work out the conversation's next state.

        Raises: TooLarge; ValueError for an id that no store would find again.
        """
        if len(items) > MAX_ITEMS_PER_WRITE:
            message = f"{len(items)} items in one write; at most {MAX_ITEMS_PER_WRITE} are allowed."
            raise TooLarge(message, param="items")
        ids = [before.id, *(item.id for item in items), *([response.id] if response else ())]
        if not all(map(is_id, ids)) or len(set(ids)) < len(ids):
            raise ValueError(f"not ids, or not unique: {ids}")
        first_seq, last_seq = before.last_seq + 1, before.last_seq + len(items)
        turn = cls(
            before=before,
            after=replace(
                before,
                version=before.version + 1,
                last_seq=last_seq,
                usage=before.usage + (usage or Usage()),
                updated_at_s=int(now_s),
            ),
            items=tuple(replace(item, seq=seq) for seq, item in enumerate(items, first_seq)),
            response=response and replace(response, first_seq=first_seq, last_seq=last_seq),
            usage=usage or Usage(),
        )
        _check_size(turn)
        return turn

    @classmethod
    def in_place_of(
        cls, before: Conversation, item: Item, response: StoredResponse, usage: Usage, *, now_s: float
    ) -> Turn:
        """Put a longer version of the last item and of its response where they are.

        Raises: TooLarge; VersionConflict where other items follow.
        """
        if item.seq != before.last_seq:
            raise VersionConflict(before.version, None)
        turn = cls(
            before=before,
            after=replace(
                before, version=before.version + 1, usage=before.usage + usage, updated_at_s=int(now_s)
            ),
            items=(item,),
            response=response,
            usage=usage,
            in_place=True,
        )
        _check_size(turn)
        return turn

    def onto(self, stored: Conversation | None) -> Conversation:
        """Apply the turn to the head as it is stored: its title may have changed since the turn began."""
        if stored is None:
            return self.after
        return replace(
            stored,
            version=self.after.version,
            last_seq=self.after.last_seq,
            usage=stored.usage + self.usage,
            updated_at_s=self.after.updated_at_s,
        )

    def refusal(self, stored: Conversation | None) -> RequestError:
        """Say why a turn made for `before` cannot be written onto what is stored."""
        if self.before.version == 0:
            return Conflict(f"The conversation {self.before.id!r} exists already.", param="conversation")
        if stored is None:
            return absent("conversation", self.before.id)
        return VersionConflict(self.before.version, stored.version)


def contend(held: Claim | None, wanted: Claim, now_s: float) -> Claim:
    """Say who has an idempotency key when `wanted` asks for it: it itself where the key is free.

    Raises: Conflict where the key belongs to another request.
    """
    if held is None:
        return wanted
    if held.fingerprint != wanted.fingerprint:
        raise Conflict(
            "This idempotency key was used for another request.",
            param="Idempotency-Key",
            code="idempotency_key_reused",
        )
    is_free = held.result is None and (held.until_s <= now_s or held.owner == wanted.owner)
    return wanted if is_free else held


def state_of(result: str | None, until_s: float, now_s: float) -> Literal["running", "lapsed", "done"]:
    """Say how it stands with a claim that is stored."""
    if result is not None:
        return "done"
    return "running" if until_s > now_s else "lapsed"


def absent(kind: str, id: str) -> NotFound:
    """Say that there is no such thing, in the same words whatever the reason."""
    return NotFound(f"There is no {kind} with the id {id[:64]!r}.")


def dump_item(item: Item) -> str:
    """Write an item down, all but its number."""
    return _dump(item)


def load_item(text: str, *, seq: int) -> Item:
    """Undo `dump_item`."""
    known = _known(Item, text)
    known["token_ids"] = tuple(known.get("token_ids", ()))
    return Item(seq=seq, **known)


def dump_response(response: StoredResponse) -> str:
    """Write a response down, all but its numbers."""
    return _dump(response)


def load_response(text: str, *, first_seq: int, last_seq: int) -> StoredResponse:
    """Undo `dump_response`."""
    return StoredResponse(first_seq=first_seq, last_seq=last_seq, **_known(StoredResponse, text))


def dump_lineage(lineage: Sequence[Ancestor]) -> str:
    """Write a lineage down."""
    return dump_json([[part.conversation_id, part.upto_seq] for part in lineage])


def load_lineage(text: str) -> tuple[Ancestor, ...]:
    """Undo `dump_lineage`."""
    return tuple(Ancestor(conversation_id, upto_seq) for conversation_id, upto_seq in json.loads(text))


def dump_json(document: Mapping[str, Any] | Sequence[Any]) -> str:
    """Write JSON compactly. A lone surrogate has no UTF-8 and databases refuse it: such a text is escaped."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(document, separators=(",", ":"))
    return text


def _check_size(turn: Turn) -> None:
    texts = [dump_json(turn.after.metadata), *map(dump_item, turn.items)]
    texts += [dump_response(turn.response)] if turn.response else []
    size_bytes = sum(len(text.encode()) for text in texts)
    if size_bytes > MAX_WRITE_BYTES:
        raise TooLarge(
            f"{size_bytes} bytes in one write; at most {MAX_WRITE_BYTES} are allowed.", param="items"
        )


def _dump(value: Item | StoredResponse) -> str:
    whole = asdict(value)
    kept = (field for field in fields(value) if field.name not in _NUMBERED_BY_STORE)
    return dump_json(
        {field.name: whole[field.name] for field in kept if whole[field.name] != _default(field)}
    )


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _known(kind: type[Item] | type[StoredResponse], text: str) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in json.loads(text).items() if name in names}
