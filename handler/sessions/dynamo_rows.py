"""Keys and rows of the session table, and back as values; it makes no calls.

    pk                      sk                        what
    tenant#conversation     HEAD                      the head: version, last_seq, title, counters
    tenant#conversation     ITEM#0000000007           an item; `parts` says how many rows its text takes
    tenant#conversation     ITEM#0000000007#01        more of its text, above DynamoDB's 400 KB a row
    tenant#conversation     ID#msg_…                  the number of an item, by its id
    tenant#conversation     RESPONSE#resp_…           the response was made here; for deleting
    tenant#response         RESPONSE, RESPONSE#01 …   a response
    tenant#                 CONV#created#conversation, HIDDEN#created#conversation
    tenant#                 CLAIM#key, USAGE#period, SWEEP#conversation, CANCEL#response

See docs/adr/0030-session-table.md for the access patterns.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

from handler.sessions import records
from handler.sessions.dynamo_request import Expression, Key, Row, changing
from handler.sessions.values import Claim, Conversation, Item, Renewal, StoredResponse, Usage

PART_BYTES = 380_000
"""A row holds 400 KB, names, keys and numbers included.
Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html"""

TENANT_BYTES = 1_500
"""A partition key holds 2,048, the id included. Source: as above."""

LAST = "\U0010ffff"
"""Sorts after every other character."""

COUNTERS = ("input_tokens", "cached_tokens", "output_tokens", "requests")


def partition(tenant: str, id: str) -> str:
    """Make the partition key of a conversation or a response; a tenant's name cannot reach over its `#`."""
    return directory(tenant) + id


def directory(tenant: str) -> str:
    """Make the partition key of what belongs to a tenant as a whole.

    A name that is too long for a key stands as its hash; no quoted name has a colon.
    """
    name = quote(tenant, safe="", errors="surrogatepass")
    if len(name) > TENANT_BYTES:
        name = "sha256:" + hashlib.sha256(name.encode()).hexdigest()
    return name + "#"


def head_key(tenant: str, conversation_id: str) -> Key:
    """Where a head lies."""
    return partition(tenant, conversation_id), "HEAD"


def item_sk(seq: int) -> str:
    """Where an item lies: zero-padded, so that the sort order is the order of numbers."""
    return f"ITEM#{seq:010d}"


def id_key(tenant: str, conversation_id: str, item_id: str) -> Key:
    """Where an item's number lies."""
    return partition(tenant, conversation_id), f"ID#{item_id}"


def response_key(tenant: str, response_id: str) -> Key:
    """Where a response lies."""
    return partition(tenant, response_id), "RESPONSE"


def response_mark_key(tenant: str, response: StoredResponse) -> Key:
    """Where a conversation notes that a response was made in it."""
    return partition(tenant, response.conversation_id), f"RESPONSE#{response.id}"


def listing_key(tenant: str, conversation: Conversation) -> Key:
    """Where a conversation stands in its tenant's directory: by age."""
    kind = listing_kind(hidden=conversation.hidden)
    return directory(tenant), f"{kind}{conversation.created_at_s:012d}#{conversation.id}"


def listing_kind(*, hidden: bool) -> str:
    """Begin the sort keys of a directory's entries of one kind."""
    return "HIDDEN#" if hidden else "CONV#"


def claim_key(tenant: str, key: str) -> Key:
    """Where a claim lies."""
    return directory(tenant), f"CLAIM#{key}"


def usage_key(tenant: str, period: str) -> Key:
    """Where a tenant's counters lie."""
    return directory(tenant), f"USAGE#{period}"


def cancel_key(tenant: str, response_id: str) -> Key:
    """Where it is noted that a response is to end."""
    return directory(tenant), f"CANCEL#{response_id}"


def sweep_key(tenant: str, conversation_id: str) -> Key:
    """Where it is noted that a deleted conversation's rows are not all gone yet."""
    return directory(tenant), f"SWEEP#{conversation_id}"


def expiry(now_s: float, retention_s: float | None) -> dict[str, int]:
    """Make the attribute that DynamoDB's TTL reads: Unix seconds; none where nothing expires."""
    return {} if retention_s is None else {"ttl": math.ceil(now_s + retention_s)}


def renewing(ttl: Row, to: Row | None = None, by: Row | None = None) -> Expression:
    """Change a row as `changing` does, and its expiry; without one, it loses what it had."""
    return changing({**(to or {}), **ttl}, by, () if ttl else ("ttl",))


def long_expiry(now_s: float, retention_s: float | None) -> dict[str, int]:
    """Make the expiry of rows that not every turn renews; their head decides whether they are seen."""
    return expiry(now_s, None if retention_s is None else retention_s * (1 + records.RETENTION_SLACK))


def is_live(row: Row | None, now_s: float) -> bool:
    """Tell whether a row is there and not expired; DynamoDB itself deletes up to days late.

    Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/howitworks-ttl.html
    """
    return row is not None and row.get("ttl", math.inf) > now_s  # type: ignore[operator]


def vacant(now_s: float) -> Expression:
    """Condition: there is no such row, or an expired one."""
    return Expression("(attribute_not_exists(#pk) OR #ttl <= :now)", {"now": now_s})


def live(now_s: float) -> Expression:
    """Condition: the row is there and not expired."""
    return Expression(
        "(attribute_exists(#pk) AND (attribute_not_exists(#ttl) OR #ttl > :now))", {"now": now_s}
    )


def present() -> Expression:
    """Condition: the row is there, expired or not."""
    return Expression("attribute_exists(#pk)")


def at_version(version: int, now_s: float) -> Expression:
    """Condition: the head is live and at this version."""
    alive = live(now_s)
    return Expression(f"{alive.text} AND #version = :seen", {**alive.values, "seen": version})


def unmoved(version: int) -> Expression:
    """Condition: the head is at this version, expired or not."""
    return Expression("#version = :seen", {"seen": version})


def unsettled(owner: str) -> Expression:
    """Condition: the claim is this owner's, and not used yet."""
    return Expression("#owner = :owner AND attribute_not_exists(#result)", {"owner": owner})


def head_row(tenant: str, conversation: Conversation, ttl: Mapping[str, int]) -> Row:
    """Write a whole head."""
    return {
        **_keyed(head_key(tenant, conversation.id)),
        "id": conversation.id,
        "created_at_s": conversation.created_at_s,
        "hidden": int(conversation.hidden),
        "lineage": records.dump_lineage(conversation.lineage),
        "metadata": records.dump_json(conversation.metadata),
        "title": records.dump_json(conversation.title),
        "version": conversation.version,
        "last_seq": conversation.last_seq,
        "updated_at_s": conversation.updated_at_s,
        **renewal_facts(conversation.renewal),
        **asdict(conversation.usage),
        **ttl,
    }


def renewal_facts(renewal: Renewal) -> dict[str, str | int | float]:
    """Write how far a head's items are renewed."""
    return {
        "renewal_begun_s": renewal.begun_s,
        "renewal_retention_s": renewal.retention_s,
        "renewal_place": renewal.place,
    }


def load_head(row: Row) -> Conversation:
    """Undo `head_row`."""
    return Conversation(
        id=str(row["id"]),
        created_at_s=int(row["created_at_s"]),
        metadata=json.loads(str(row["metadata"])),
        title=json.loads(str(row["title"])),
        hidden=bool(row["hidden"]),
        lineage=records.load_lineage(str(row["lineage"])),
        version=int(row["version"]),
        last_seq=int(row["last_seq"]),
        usage=load_usage(row),
        updated_at_s=int(row["updated_at_s"]),
        renewal=Renewal(
            int(row.get("renewal_begun_s", 0)),
            float(row.get("renewal_retention_s", -1)),
            str(row.get("renewal_place", "")),
        ),
    )


def load_usage(row: Row) -> Usage:
    """Read the counters of a row."""
    return Usage(*(int(row.get(name, 0)) for name in COUNTERS))


def item_rows(tenant: str, conversation_id: str, item: Item, ttl: Mapping[str, int]) -> list[Row]:
    """Write an item: as many rows as its text needs."""
    key = partition(tenant, conversation_id), item_sk(item.seq)
    return _split(key, records.dump_item(item), {"seq": item.seq, **ttl})


def load_items(rows: Iterable[Row]) -> Iterator[Item]:
    """Join the rows of items in either order, each as soon as all of its parts have come.

    Rows of an item that lacks a part, cut off by the edge of a query, are passed over.
    """
    parts: dict[str, str] = {}
    wanted, seq = 0, -1
    for row in rows:
        if int(row["seq"]) != seq:
            parts, wanted, seq = {}, 0, int(row["seq"])
        parts[str(row["sk"])] = str(row["doc"])
        wanted = int(row.get("parts", wanted))
        if len(parts) == wanted:
            yield records.load_item("".join(parts[sk] for sk in sorted(parts)), seq=seq)


def response_rows(tenant: str, response: StoredResponse, ttl: Mapping[str, int]) -> list[Row]:
    """Write a response: as many rows as its text needs."""
    facts = {
        "conversation_id": response.conversation_id,
        "first_seq": response.first_seq,
        "last_seq": response.last_seq,
        **ttl,
    }
    return _split(response_key(tenant, response.id), records.dump_response(response), facts)


def load_response(rows: Iterable[Row]) -> StoredResponse:
    """Undo `response_rows`."""
    ordered = sorted(rows, key=lambda row: str(row["sk"]))
    first = ordered[0]
    text = "".join(str(row["doc"]) for row in ordered[: int(first["parts"])])
    return records.load_response(text, first_seq=int(first["first_seq"]), last_seq=int(first["last_seq"]))


def claim_row(tenant: str, claim: Claim, ttl: Mapping[str, int]) -> Row:
    """Write a claim, settled where it has a result."""
    return {
        **_keyed(claim_key(tenant, claim.key)),
        "owner": claim.owner,
        "fingerprint": claim.fingerprint,
        "until_s": claim.until_s,
        **({} if claim.result is None else {"result": claim.result}),
        **ttl,
    }


def load_claim(row: Row, now_s: float) -> Claim:
    """Read who holds a key."""
    result, until_s = row.get("result"), float(row["until_s"])
    known = None if result is None else str(result)
    return Claim(
        key=str(row["sk"]).partition("#")[2],
        owner=str(row["owner"]),
        state=records.state_of(known, until_s, now_s),
        fingerprint=str(row["fingerprint"]),
        until_s=until_s,
        result=known,
    )


def bare(key: Key, ttl: Mapping[str, int], **facts: Any) -> Row:
    """Write a row that says little more than its key."""
    return {**_keyed(key), **facts, **ttl}


def _keyed(key: Key) -> dict[str, str]:
    return {"pk": key[0], "sk": key[1]}


def _split(key: Key, text: str, facts: Mapping[str, Any]) -> list[Row]:
    """Cut a text into rows between characters; the first row says how many there are."""
    data = text.encode()
    cuts = [0]
    while len(data) - cuts[-1] > PART_BYTES:
        cut = cuts[-1] + PART_BYTES
        while data[cut] & 0xC0 == 0x80:  # inside a character
            cut -= 1
        cuts.append(cut)
    pieces = [data[start:end].decode() for start, end in zip(cuts, [*cuts[1:], len(data)], strict=True)]
    first: Row = {**_keyed(key), **facts, "doc": pieces[0], "parts": len(pieces)}
    more = [
        {"pk": key[0], "sk": f"{key[1]}#{n:02d}", **facts, "doc": piece}
        for n, piece in enumerate(pieces[1:], start=1)
    ]
    return [first, *more]
