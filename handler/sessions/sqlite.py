"""SqliteSessions: the embedded session store, one file on this machine; it knows only rows and the values.

Every method is one SQLite transaction. Rows past their retention are invisible at once; each write sweeps a
few.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from handler.errors import Conflict, NotFound, VersionConflict
from handler.sessions import sqlite_claims as claims
from handler.sessions import sqlite_rows as rows
from handler.sessions.records import (
    CANCEL_RETENTION_S,
    CLAIM_RETENTION_S,
    RETENTION_SLACK,
    USAGE_RETENTION_S,
    Turn,
    absent,
    contend,
)
from handler.sessions.sqlite_file import BUSY_TIMEOUT_S, SqliteFile
from handler.sessions.values import Claim, Conversation, Item, Order, Page, StoredResponse, Usage, Window


class SqliteSessions:
    """The `SessionStore` over one SQLite file; see the Protocol for what its methods promise."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float],
        retention_s: float | None = None,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
    ) -> None:
        """Open the file; `clock` gives Unix seconds, and without `retention_s` nothing expires.

        Raises: SettingsError.
        """
        self._file = SqliteFile(path, busy_timeout_s=busy_timeout_s)
        self._clock = clock
        self._retention_s = math.inf if retention_s is None else retention_s

    def create(
        self,
        tenant: str,
        conversation: Conversation,
        items: Sequence[Item] = (),
        *,
        claim: Claim | None = None,
    ) -> Conversation:
        """See `SessionStore.create`."""
        return self.append(tenant, replace(conversation, version=0), items, claim=claim)

    def get(self, tenant: str, conversation_id: str) -> Conversation:
        """See `SessionStore.get`."""
        with self._file.read() as db:
            return self._head(db, tenant, conversation_id)

    def update(
        self,
        tenant: str,
        conversation_id: str,
        *,
        metadata: Mapping[str, str] | None = None,
        title: str | None = None,
        if_version: int | None = None,
    ) -> Conversation:
        """See `SessionStore.update`."""
        with self._file.write() as db:
            old = self._head(db, tenant, conversation_id, if_version)
            new = replace(
                old,
                metadata=old.metadata if metadata is None else metadata,
                title=old.title if title is None else title,
            )
            rows.change_head(db, tenant, new)
            return new

    def delete(self, tenant: str, conversation_id: str, *, if_version: int | None = None) -> None:
        """See `SessionStore.delete`."""
        with self._file.erase() as db:
            self._head(db, tenant, conversation_id, if_version)
            rows.delete_conversation(db, tenant, conversation_id)

    def conversations(
        self,
        tenant: str,
        *,
        limit: int = 20,
        after: str | None = None,
        order: Order = "desc",
        hidden: bool = False,
    ) -> Page[Conversation]:
        """See `SessionStore.conversations`."""
        with self._file.read() as db:
            last = None if after is None else self._head(db, tenant, after)
            if last is not None and last.hidden != hidden:
                raise absent("conversation", last.id)
            found = rows.heads(
                db, tenant, self._clock(), after=last, order=order, limit=limit + 1, hidden=hidden
            )
        return Page(tuple(found[:limit]), has_more=len(found) > limit)

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
        """See `SessionStore.append`."""
        turn = Turn.of(conversation, items, response, usage, now_s=self._clock())
        return self._write(tenant, turn, claim)

    def replace_last(
        self,
        tenant: str,
        conversation: Conversation,
        item: Item,
        *,
        response: StoredResponse,
        usage: Usage | None = None,
    ) -> Conversation:
        """See `SessionStore.replace_last`."""
        turn = Turn.in_place_of(conversation, item, response, usage or Usage(), now_s=self._clock())
        return self._write(tenant, turn, None)

    def items(
        self,
        tenant: str,
        conversation_id: str,
        *,
        limit: int = 20,
        after: str | None = None,
        order: Order = "desc",
    ) -> Page[Item]:
        """See `SessionStore.items`."""
        with self._file.read() as db:
            self._head(db, tenant, conversation_id)
            beyond = None if after is None else self._item(db, tenant, conversation_id, after).seq
            found = rows.items(
                db, tenant, conversation_id, self._clock(), after_seq=beyond, order=order, limit=limit + 1
            )
        return Page(tuple(found[:limit]), has_more=len(found) > limit)

    def item(self, tenant: str, conversation_id: str, item_id: str) -> Item:
        """See `SessionStore.item`."""
        with self._file.read() as db:
            self._head(db, tenant, conversation_id)
            return self._item(db, tenant, conversation_id, item_id)

    def delete_item(
        self,
        tenant: str,
        conversation_id: str,
        item_id: str,
        *,
        title: str | None = None,
        if_version: int | None = None,
    ) -> Conversation:
        """See `SessionStore.delete_item`."""
        with self._file.erase() as db:
            old = self._head(db, tenant, conversation_id, if_version)
            rows.delete_item(
                db, tenant, conversation_id, self._item(db, tenant, conversation_id, item_id).seq
            )
            new = replace(old, version=old.version + 1, title=old.title if title is None else title)
            rows.change_head(db, tenant, new)
            return new

    def window(
        self, tenant: str, conversation: Conversation, *, max_items: int, upto_seq: int | None = None
    ) -> Window:
        """See `SessionStore.window`."""
        newest = conversation.last_seq if upto_seq is None else upto_seq
        stretches: list[tuple[str, list[Item]]] = []
        wanted = max_items + 1  # one more, to tell whether there are more
        with self._file.read() as db:
            for part in conversation.segments(newest):
                id, beyond = part.conversation_id, part.upto_seq + 1
                found = rows.items(
                    db, tenant, id, self._clock(), after_seq=beyond, order="desc", limit=wanted
                )
                stretches.append((id, found))
                wanted -= len(found)
                if wanted <= 0:
                    break
        items = [item for _, stretch in stretches for item in stretch]
        return Window(
            items=tuple(reversed(items[:max_items])),
            has_more=len(items) > max_items,
            incomplete=any(not stretch and id != conversation.id for id, stretch in stretches),
        )

    def renew(self, tenant: str, conversation: Conversation) -> Conversation:
        """See `SessionStore.renew`; all of it at once, which takes a file milliseconds."""
        parts = conversation.segments(conversation.last_seq)
        now_s, expires_at_s = self._clock(), self._expiry_s()
        with self._file.read() as db:
            firsts = [(part, rows.first_expiry_s(db, tenant, part, now_s)) for part in parts]
        due = [part for part, s in firsts if s < expires_at_s or expires_at_s < s == math.inf]
        if due:
            with self._file.write() as db:
                for part in due:
                    rows.keep_items(db, tenant, part, now_s, self._items_expiry_s())
        return conversation

    def response(self, tenant: str, response_id: str) -> StoredResponse:
        """See `SessionStore.response`."""
        with self._file.read() as db:
            return self._response(db, tenant, response_id)

    def responses(self, tenant: str, conversation_id: str) -> Iterator[StoredResponse]:
        """See `SessionStore.responses`."""
        with self._file.read() as db:
            ids = rows.response_ids(db, tenant, conversation_id)
        for id in ids:
            with suppress(NotFound):
                yield self.response(tenant, id)

    def redact(self, tenant: str, conversation: Conversation, value: Item | StoredResponse) -> None:
        """See `SessionStore.redact`; the item that goes then takes the log along."""
        with self._file.write() as db:
            self._head(db, tenant, conversation.id, conversation.version)
            rows.redact(db, tenant, conversation.id, value)

    def delete_response(self, tenant: str, response_id: str) -> None:
        """See `SessionStore.delete_response`."""
        with self._file.erase() as db:
            self._response(db, tenant, response_id)
            rows.delete_response(db, tenant, response_id)

    def request_cancel(self, tenant: str, response_id: str) -> None:
        """See `SessionStore.request_cancel`."""
        with self._file.write() as db:
            rows.put_cancellation(db, tenant, response_id, self._clock() + CANCEL_RETENTION_S)

    def is_cancel_requested(self, tenant: str, response_id: str) -> bool:
        """See `SessionStore.is_cancel_requested`."""
        with self._file.read() as db:
            return rows.is_cancelled(db, tenant, response_id, self._clock())

    def claim(self, tenant: str, key: str, *, owner: str, fingerprint: str, lease_s: float) -> Claim:
        """See `SessionStore.claim`."""
        now_s = self._clock()
        mine = Claim(key, owner, "mine", fingerprint, until_s=now_s + lease_s)
        with self._file.write() as db:
            holder = contend(claims.find(db, tenant, key, now_s), mine, now_s)
            if holder is mine:
                claims.put(db, tenant, mine, now_s + CLAIM_RETENTION_S)
            return holder

    def newest_claim(self, tenant: str, prefix: str, *, since: str) -> Claim | None:
        """See `SessionStore.newest_claim`."""
        with self._file.read() as db:
            return claims.newest(db, tenant, prefix, since, self._clock())

    def release(self, tenant: str, claim: Claim) -> None:
        """See `SessionStore.release`."""
        with self._file.write() as db:
            claims.release(db, tenant, claim)

    def add_usage(self, tenant: str, period: str, usage: Usage) -> Usage:
        """See `SessionStore.add_usage`."""
        with self._file.write() as db:
            total = rows.usage(db, tenant, period, self._clock()) + usage
            rows.put_usage(db, tenant, period, total, self._clock() + USAGE_RETENTION_S)
            return total

    def usage(self, tenant: str, period: str) -> Usage:
        """See `SessionStore.usage`."""
        with self._file.read() as db:
            return rows.usage(db, tenant, period, self._clock())

    def erase(
        self,
        tenant: str,
        *,
        counted_period: str | None = None,
        should_stop: Callable[[], bool] | None = None,  # noqa: ARG002  one transaction: all or nothing
    ) -> None:
        """See `SessionStore.erase`."""
        with self._file.erase() as db:
            rows.erase(db, tenant, counted_period)

    def prepare(self) -> None:
        """See `SessionStore.prepare`; all of it was imported with this module."""

    def close(self) -> None:
        """See `SessionStore.close`."""
        self._file.close()

    def _write(self, tenant: str, turn: Turn, claim: Claim | None) -> Conversation:
        now_s = self._clock()
        with self._file.write() as db:
            rows.sweep(db, now_s)
            stored = rows.head(db, tenant, turn.before.id, now_s)
            if (stored.version if stored else 0) != turn.before.version:
                if stored and rows.holds(db, tenant, turn, now_s):
                    return stored
                raise turn.refusal(stored)
            if claim and not claims.settle(db, tenant, claim, now_s, now_s + CLAIM_RETENTION_S):
                raise Conflict("Another request with this idempotency key has taken over.")
            written = turn.onto(stored)
            rows.put_head(db, tenant, written, self._expiry_s())
            put = rows.put_in_place if turn.in_place else rows.insert_turn
            put(
                db,
                tenant,
                turn,
                now_s,
                items_expire_at_s=self._items_expiry_s(),
                response_expires_at_s=self._expiry_s(),
            )
            return written

    def _expiry_s(self) -> float:
        return self._clock() + self._retention_s

    def _items_expiry_s(self) -> float:
        return self._clock() + self._retention_s * (1 + RETENTION_SLACK)

    def _head(
        self, db: sqlite3.Connection, tenant: str, conversation_id: str, if_version: int | None = None
    ) -> Conversation:
        found = rows.head(db, tenant, conversation_id, self._clock())
        if found is None:
            raise absent("conversation", conversation_id)
        if if_version is not None and if_version != found.version:
            raise VersionConflict(if_version, found.version)
        return found

    def _item(self, db: sqlite3.Connection, tenant: str, conversation_id: str, item_id: str) -> Item:
        found = rows.item(db, tenant, conversation_id, item_id, self._clock())
        if found is None:
            raise absent("item", item_id)
        return found

    def _response(self, db: sqlite3.Connection, tenant: str, response_id: str) -> StoredResponse:
        found = rows.response(db, tenant, response_id, self._clock())
        if found is None:
            raise absent("response", response_id)
        return found
