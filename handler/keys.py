"""API keys, `dm-<id>-<secret><checksum>`: how one is made, read and judged; knows no table, file or gateway.

A key is shown once, when it is made. What is kept of it is a record with its SHA-256: the secret has 160
random bits, so a slow hash would add nothing but time. Id and checksum are no secrets: the id finds the
record, the checksum tells a typing error from a wrong key without asking anybody.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Five bits a letter, none that looks like another. Source: https://www.crockford.com/base32.html"""

ID_LETTERS, SECRET_LETTERS, CHECKSUM_LETTERS = 10, 32, 7
PATTERN = "dm-[0-9a-hjkmnp-tv-z]{10}-[0-9a-hjkmnp-tv-z]{39}"
"""template.yaml has API Gateway refuse by the same one what cannot be a key."""

Reason = Literal["malformed", "unknown", "wrong", "expired", "revoked"]
NOBODY = "0" * 64


class Refused(Exception):
    """A key does not admit; `reason` is for the operator, and only `malformed` may be told to the caller."""

    def __init__(self, reason: Reason, key_id: str | None = None) -> None:
        super().__init__(reason)
        self.reason: Reason = reason
        self.key_id = key_id


@dataclass(frozen=True)
class Key:
    """A whole key, secret included; it is never stored and does not show itself."""

    id: str
    secret: str

    @property
    def text(self) -> str:
        """As it is sent."""
        body = f"dm-{self.id}-{self.secret}"
        return body + checksum(body)

    @property
    def sha256(self) -> str:
        """What is kept of it."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def __repr__(self) -> str:
        return f"Key({self.id})"


@dataclass(frozen=True)
class KeyRecord:
    """What is known of a key; moments are seconds since 1970, None is never."""

    id: str
    sha256: str
    tenant: str
    created_s: int
    expires_s: int | None = None
    revoked_s: int | None = None
    usage_key: str | None = None  # what API Gateway counts this tenant's requests under

    @classmethod
    def from_row(cls, row: Mapping[str, object]) -> KeyRecord:
        """Read a record; what is absent is None, what is unknown is left alone. Raises: ValueError."""
        for name, kind in _TYPES.items():
            if not isinstance(row.get(name), kind):
                raise ValueError(f"the record of a key has a wrong {name}")
        values: Any = {name: row.get(name) for name in _TYPES}
        return cls(**values)

    def row(self) -> dict[str, str | int]:
        """Write it; what is None is left out."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def state(self, now_s: float) -> Literal["valid", "expired", "revoked"]:
        """Whether it admits at this moment."""
        if self.revoked_s is not None:
            return "revoked"
        return "expired" if self.expires_s is not None and self.expires_s <= now_s else "valid"


_TYPES = {
    **dict.fromkeys(("id", "sha256", "tenant"), str),
    "created_s": int,
    **dict.fromkeys(("expires_s", "revoked_s"), int | None),
    "usage_key": str | None,
}


def new_key() -> Key:
    """Draw a key from the operating system's randomness."""
    return Key(*("".join(secrets.choice(ALPHABET) for _ in range(n)) for n in (ID_LETTERS, SECRET_LETTERS)))


def checksum(body: str) -> str:
    """CRC-32 in seven letters: up to four wrong letters in a row are noticed for certain."""
    value = zlib.crc32(body.encode())
    return "".join(ALPHABET[value >> 5 * place & 31] for place in reversed(range(CHECKSUM_LETTERS)))


def parse_key(text: str) -> Key:
    """Read a key as it is sent. Raises: ValueError that says what is wrong and quotes nothing."""
    if not text.startswith("dm-"):
        raise ValueError("An API key begins with `dm-`.")
    if not re.fullmatch(PATTERN, text):
        raise ValueError("The API key has a letter too many, too few, or one that no key has.")
    _, key_id, rest = text.split("-")
    key = Key(key_id, rest[:SECRET_LETTERS])
    if not hmac.compare_digest(key.text, text):
        raise ValueError("The API key is mistyped: its checksum does not fit.")
    return key


def bearer_key(authorization: str | None) -> Key:
    """Read the key of an `Authorization` header. Raises: ValueError, as `parse_key` does."""
    scheme, _, token = (authorization or "").strip().partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise ValueError("Send an API key as `Authorization: Bearer dm-...`.")
    return parse_key(token.strip())


def judge(key: Key, find: Callable[[str], KeyRecord | None], now_s: float) -> KeyRecord:
    """Find the record that admits this key.

    Whatever is wrong, the work is the same: one look-up, one hash, one comparison. Raises: Refused.
    """
    record = find(key.id)
    matches = hmac.compare_digest(key.sha256, record.sha256 if record else NOBODY)
    if record is None:
        raise Refused("unknown", key.id)
    if not matches:
        raise Refused("wrong", key.id)
    state = record.state(now_s)
    if state != "valid":
        raise Refused(state, key.id)
    return record
