"""Whoever was let in, as far as API Gateway and the function need to know."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Caller:
    """`credential` is the public part of what admitted it: a key's id, or Cognito's client."""

    tenant: str
    credential: str
    usage_key: str | None
