"""DynamoSessions: the session store in the cloud, one DynamoDB table; it knows rows, never botocore.

A turn costs one read of the head, one query for the window and one transaction, however long the
conversation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from handler.errors import NotFound, VersionConflict
from handler.sessions import dynamo_claims as claims
from handler.sessions import dynamo_items as stored_items
from handler.sessions import dynamo_renewal, dynamo_sweep, records
from handler.sessions import dynamo_responses as stored_responses
from handler.sessions import dynamo_rows as rows
from handler.sessions.dynamo_request import Delete, Put, Update, changing
from handler.sessions.dynamo_table import BATCH_READ_ROWS, ConditionFailed, DynamoTable
from handler.sessions.dynamo_turn import write_turn
from handler.sessions.records import CANCEL_RETENTION_S, USAGE_RETENTION_S, Turn, absent
from handler.sessions.values import (
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


class DynamoSessions:
    """The `SessionStore` over one DynamoDB table; see the Protocol for what its methods promise."""

    def __init__(
        self, table: DynamoTable, *, clock: Callable[[], float], retention_s: float | None = None
    ) -> None:
        """Use a table; `clock` gives Unix seconds, and without `retention_s` nothing expires."""
        self._table = table
        self._clock = clock
        self._retention_s = retention_s

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
        row = self._table.get(rows.head_key(tenant, conversation_id)) if is_id(conversation_id) else None
        if row is None or not rows.is_live(row, self._clock()):
            raise absent("conversation", conversation_id)
        return rows.load_head(row)

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
        changes = {"metadata": metadata, "title": title}
        texts = {name: records.dump_json(new) for name, new in changes.items() if new is not None}
        if not texts:
            return self._head(tenant, conversation_id, if_version)
        if not is_id(conversation_id):
            raise absent("conversation", conversation_id)
        change = changing(texts)
        now_s = self._clock()
        condition = rows.live(now_s) if if_version is None else rows.at_version(if_version, now_s)
        try:
            row = self._table.update(Update(rows.head_key(tenant, conversation_id), change, condition))
        except ConditionFailed:
            self._head(tenant, conversation_id, if_version)
            raise absent("conversation", conversation_id) from None
        return rows.load_head(row)

    def delete(self, tenant: str, conversation_id: str, *, if_version: int | None = None) -> None:
        """See `SessionStore.delete`."""
        if not is_id(conversation_id):
            raise absent("conversation", conversation_id)
        try:
            head = self._head(tenant, conversation_id, if_version)
        except NotFound:
            dynamo_sweep.resume(self._table, tenant, conversation_id)
            return
        dynamo_sweep.delete_conversation(self._table, tenant, head, if_version)

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
        kind = rows.listing_kind(hidden=hidden)
        low, high = kind, kind + rows.LAST
        if after is not None:
            last = self.get(tenant, after)
            if last.hidden != hidden:
                raise absent("conversation", after)
            sk = rows.listing_key(tenant, last)[1]
            low, high = (sk, high) if order == "asc" else (low, sk)
        batch, now_s = limit + 2, self._clock()
        entries = self._table.query(
            rows.directory(tenant),
            low,
            high,
            newest_first=order == "desc",
            page_rows=batch,
            later_rows=BATCH_READ_ROWS,
        )
        listed = (str(row["id"]) for row in entries if rows.is_live(row, now_s))
        found: list[Conversation] = []
        while len(found) <= limit and (ids := list(islice(listed, batch))):
            keys = [rows.head_key(tenant, id) for id in ids if id != after]
            heads = self._table.get_many(keys)
            live = (heads[key] for key in keys if key in heads and rows.is_live(heads[key], now_s))
            found += map(rows.load_head, live)
            batch = BATCH_READ_ROWS  # of many that have expired a few may be all that is left
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
        now_s = self._clock()
        begun = dynamo_renewal.begun(conversation, now_s, self._retention_s)
        turn = Turn.of(begun, items, response, usage, now_s=now_s)
        return write_turn(self._table, tenant, turn, claim, now_s=now_s, retention_s=self._retention_s)

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
        now_s = self._clock()
        turn = Turn.in_place_of(conversation, item, response, usage or Usage(), now_s=now_s)
        return write_turn(self._table, tenant, turn, None, now_s=now_s, retention_s=self._retention_s)

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
        # The head first: the items that it counts were all written before it was read.
        head = self.get(tenant, conversation_id)
        low, high = head.first_seq, head.last_seq
        if after is not None:
            seq = self._number(tenant, conversation_id, after)
            low, high = (seq + 1, high) if order == "asc" else (low, seq - 1)
        found = self._read(tenant, conversation_id, low, high, order=order, limit=limit + 1)
        return Page(found[:limit], has_more=len(found) > limit)

    def item(self, tenant: str, conversation_id: str, item_id: str) -> Item:
        """See `SessionStore.item`."""
        self.get(tenant, conversation_id)
        seq = self._number(tenant, conversation_id, item_id)
        found = self._read(tenant, conversation_id, seq, seq, order="asc", limit=1)
        if not found:
            raise absent("item", item_id)
        return found[0]

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
        while True:
            held = self._head(tenant, conversation_id, if_version)
            seq = self._number(tenant, conversation_id, item_id)
            new = replace(held, version=held.version + 1, title=held.title if title is None else title)
            titled = {} if title is None else {"title": records.dump_json(title)}
            change = changing({"version": new.version, **titled})
            unmoved = rows.at_version(held.version, self._clock())
            try:
                self._table.write(
                    Update(rows.head_key(tenant, held.id), change, unmoved),
                    Delete(rows.id_key(tenant, held.id, item_id)),
                    *map(Delete, stored_items.row_keys(self._table, tenant, held.id, seq)),
                )
            except ConditionFailed:
                continue  # a turn came in between; somebody made progress, so this ends
            return new

    def window(
        self, tenant: str, conversation: Conversation, *, max_items: int, upto_seq: int | None = None
    ) -> Window:
        """See `SessionStore.window`."""
        newest = conversation.last_seq if upto_seq is None else upto_seq
        found: list[Item] = []
        incomplete = False
        for part in conversation.segments(newest):
            wanted = max_items + 1 - len(found)  # one more, to tell whether there are more
            if wanted <= 0:
                break
            id = part.conversation_id
            stretch = self._read(tenant, id, part.from_seq, part.upto_seq, order="desc", limit=wanted)
            incomplete = incomplete or (not stretch and id != conversation.id)
            found += stretch
        kept = tuple(reversed(found[:max_items]))
        return Window(kept, has_more=len(found) > max_items, incomplete=incomplete)

    def renew(self, tenant: str, conversation: Conversation) -> Conversation:
        """See `SessionStore.renew`."""
        return dynamo_renewal.renew(
            self._table, tenant, conversation, now_s=self._clock(), retention_s=self._retention_s
        )

    def response(self, tenant: str, response_id: str) -> StoredResponse:
        """See `SessionStore.response`."""
        found = stored_responses.read(self._table, tenant, response_id, self._clock())
        if found is None:
            raise absent("response", response_id)
        return found

    def responses(self, tenant: str, conversation_id: str) -> Iterator[StoredResponse]:
        """See `SessionStore.responses`."""
        return stored_responses.made_in(self._table, tenant, conversation_id, self._clock())

    def redact(self, tenant: str, conversation: Conversation, value: Item | StoredResponse) -> None:
        """See `SessionStore.redact`."""
        try:
            dynamo_sweep.redact(self._table, tenant, conversation, value, self._clock())
        except ConditionFailed:
            self._head(tenant, conversation.id, conversation.version)  # else it is the value that is gone

    def delete_response(self, tenant: str, response_id: str) -> None:
        """See `SessionStore.delete_response`."""
        dynamo_sweep.delete_response(self._table, tenant, self.response(tenant, response_id))

    def request_cancel(self, tenant: str, response_id: str) -> None:
        """See `SessionStore.request_cancel`."""
        if is_id(response_id):
            ttl = rows.expiry(self._clock(), CANCEL_RETENTION_S)
            self._table.write(Put(rows.bare(rows.cancel_key(tenant, response_id), ttl)))

    def is_cancel_requested(self, tenant: str, response_id: str) -> bool:
        """See `SessionStore.is_cancel_requested`."""
        return rows.is_live(self._table.get(rows.cancel_key(tenant, response_id)), self._clock())

    def claim(self, tenant: str, key: str, *, owner: str, fingerprint: str, lease_s: float) -> Claim:
        """See `SessionStore.claim`."""
        wanted = Claim(key, owner, "mine", fingerprint, until_s=self._clock() + lease_s)
        return claims.take(self._table, tenant, wanted, self._clock)

    def newest_claim(self, tenant: str, prefix: str, *, since: str) -> Claim | None:
        """See `SessionStore.newest_claim`."""
        return claims.newest(self._table, tenant, prefix, since, self._clock())

    def release(self, tenant: str, claim: Claim) -> None:
        """See `SessionStore.release`."""
        claims.release(self._table, tenant, claim)

    def add_usage(self, tenant: str, period: str, usage: Usage) -> Usage:
        """See `SessionStore.add_usage`."""
        ttl = rows.expiry(self._clock(), USAGE_RETENTION_S)
        counted = {name: getattr(usage, name) for name in rows.COUNTERS}
        change = changing(ttl, counted)
        return rows.load_usage(self._table.update(Update(rows.usage_key(tenant, period), change)))

    def usage(self, tenant: str, period: str) -> Usage:
        """See `SessionStore.usage`."""
        row = self._table.get(rows.usage_key(tenant, period))
        return rows.load_usage(row) if row is not None and rows.is_live(row, self._clock()) else Usage()

    def erase(
        self,
        tenant: str,
        *,
        counted_period: str | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> None:
        """See `SessionStore.erase`."""
        dynamo_sweep.erase(self._table, tenant, counted_period, should_stop)

    def prepare(self) -> None:
        """See `SessionStore.prepare`."""
        self._table.prepare()

    def close(self) -> None:
        """See `SessionStore.close`."""
        self._table.close()

    def _head(self, tenant: str, conversation_id: str, if_version: int | None) -> Conversation:
        held = self.get(tenant, conversation_id)
        if if_version is not None and if_version != held.version:
            raise VersionConflict(if_version, held.version)
        return held

    def _number(self, tenant: str, conversation_id: str, item_id: str) -> int:
        seq = None
        if is_id(item_id):
            seq = stored_items.number_of(self._table, tenant, conversation_id, item_id, now_s=self._clock())
        if seq is None:
            raise absent("item", item_id)
        return seq

    def _read(
        self, tenant: str, conversation_id: str, low: int, high: int, *, order: Order, limit: int
    ) -> tuple[Item, ...]:
        return stored_items.read(
            self._table, tenant, conversation_id, low, high, order=order, limit=limit, now_s=self._clock()
        )
