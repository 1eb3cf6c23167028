"""Hands out, lists, rotates and revokes API keys.

    python -m infra.keys --table TABLE issue --tenant NAME [--days N] [--usage-plan ID]
    python -m infra.keys --table TABLE list [--tenant NAME]
    python -m infra.keys --table TABLE rotate KEY_ID [--grace-hours N] [--days N]
    python -m infra.keys --table TABLE revoke KEY_ID

`--file FILE` instead of `--table` keeps the records in a file, for `python -m handler.local --keys FILE`. The
key itself goes to standard output, once, and nowhere else; everything about it goes to standard error.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from handler.keys import KeyRecord, new_key
from infra.key_stores import DynamoKeys, FileKeys, KeyStore, KeyStoreError, ended
from infra.usage import usage_key

TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
RESERVED = "local"
"""Whose requests are where nobody is asked for a key; a server refuses keys of this name."""

HOUR_S, DAY_S = 3600, 86_400


def issue(store: KeyStore, options: argparse.Namespace, now_s: int) -> None:
    """Make a key for a tenant."""
    counter = _counter(options) if options.usage_plan else None
    key = new_key()
    record = KeyRecord(key.id, key.sha256, options.tenant, now_s, _end(now_s, options.days), None, counter)
    store.add(record)
    _tell(record, now_s)
    print(key.text)


def rotate(store: KeyStore, options: argparse.Namespace, now_s: int) -> None:
    """Make a second key for the same tenant and let the first one run out: until then, both are good."""
    old = _find(store, options.key_id, now_s)
    key = new_key()
    end = _end(now_s, options.days)
    new = KeyRecord(key.id, key.sha256, old.tenant, now_s, end, None, old.usage_key)
    last = ended(old, expires_s=now_s + options.grace_hours * HOUR_S)
    store.replace(last, new)
    _tell(last, now_s)
    _tell(new, now_s)
    print(key.text)


def revoke(store: KeyStore, options: argparse.Namespace, now_s: int) -> None:
    """End a key now; API Gateway may remember it for as long as the stack's AuthorizerCacheSeconds says."""
    record = ended(_find(store, options.key_id, now_s), revoked_s=now_s)
    store.replace(record)
    _tell(record, now_s)


def show(store: KeyStore, options: argparse.Namespace, now_s: int) -> None:
    """List the keys, oldest first."""
    for record in store.records():
        if options.tenant in (None, record.tenant):
            print(_line(record, now_s))


def _find(store: KeyStore, key_id: str, now_s: int) -> KeyRecord:
    found = next((record for record in store.records() if record.id == key_id), None)
    if found is None:
        raise KeyStoreError(f"there is no key {key_id}; `list` shows the ids")
    if found.state(now_s) != "valid":
        raise KeyStoreError(f"the key {key_id} is {found.state(now_s)} already")
    return found


def _end(now_s: int, days: int | None) -> int | None:
    return now_s + days * DAY_S if days else None


def _tell(record: KeyRecord, now_s: int) -> None:
    print(_line(record, now_s), file=sys.stderr)


def _line(record: KeyRecord, now_s: int) -> str:
    def day(moment_s: int) -> str:
        return datetime.fromtimestamp(moment_s, UTC).strftime("%Y-%m-%d %H:%M")

    parts = [record.id, record.tenant, record.state(now_s), f"made {day(record.created_s)}"]
    if record.revoked_s is not None:
        parts.append(f"revoked {day(record.revoked_s)}")
    elif record.expires_s is not None:
        parts.append(f"until {day(record.expires_s)} UTC")
    return "  ".join(parts)


def _counter(options: argparse.Namespace) -> str:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        gateway = boto3.client("apigateway", region_name=options.region, endpoint_url=options.endpoint)
        return usage_key(gateway, options.tenant, options.usage_plan)
    except (BotoCoreError, ClientError, ValueError) as error:
        raise KeyStoreError(f"the usage plan {options.usage_plan}: {error}") from error


def _store(options: argparse.Namespace) -> KeyStore:
    if options.file:
        if getattr(options, "usage_plan", None):
            raise KeyStoreError("a usage plan belongs to a table, not to a file")
        return FileKeys(options.file)
    table = options.table or os.environ.get("KEYS_TABLE")
    if not table:
        raise KeyStoreError("say where the keys are: --table (or KEYS_TABLE), or --file")
    return DynamoKeys(table, region=options.region, endpoint_url=options.endpoint)


def _tenant(text: str) -> str:
    if not TENANT.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no name: 1 to 64 letters, digits, `.`, `_`, `@`, `-`, the first a letter or digit"
        )
    return text


def _new_tenant(text: str) -> str:
    if text == RESERVED:
        raise argparse.ArgumentTypeError(
            f"{text!r} is reserved for requests without a key, so no server admits such a key; take another"
        )
    return _tenant(text)


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return int(text)

    return parse


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.keys", description="API keys and their tenants.")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--table", help="the stack's output KeysTable (or the variable KEYS_TABLE)")
    where.add_argument("--file", type=Path, help="a file, for `python -m handler.local --keys`")
    parser.add_argument("--region", help="AWS region (default: as AWS's tools find it)")
    parser.add_argument("--endpoint", help="another server than AWS's own")
    commands = parser.add_subparsers(required=True, metavar="issue|list|rotate|revoke")

    def command(name: str, act: Any) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=(act.__doc__ or "").splitlines()[0])
        made.set_defaults(act=act)
        return made

    days: Any = {"type": _whole(1, 3650), "help": "days that it is good for (default: until it is revoked)"}
    issuing = command("issue", issue)
    issuing.add_argument("--tenant", type=_new_tenant, required=True, help="whose key it is to be")
    issuing.add_argument("--days", **days)
    issuing.add_argument("--usage-plan", help="count this tenant's requests by themselves (output UsagePlan)")
    command("list", show).add_argument("--tenant", type=_tenant, help="of this tenant alone")
    rotating = command("rotate", rotate)
    rotating.add_argument("key_id", help="the key to replace, as `list` shows it")
    rotating.add_argument("--days", **days)
    grace = "hours that the old key stays good beside the new one (default: %(default)s)"
    rotating.add_argument("--grace-hours", type=_whole(0, 8760), default=24, help=grace)
    command("revoke", revoke).add_argument("key_id", help="the key to end, as `list` shows it")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    options = _parser().parse_args(arguments)
    try:
        options.act(_store(options), options, int(time.time()))
    except KeyStoreError as error:
        print(f"keys: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
