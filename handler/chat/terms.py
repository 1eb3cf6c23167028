"""On what terms a write is asked for: under which idempotency key, for which version of a conversation.

Knows no header's syntax. Source: https://www.rfc-editor.org/rfc/rfc9110#name-if-match and
https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from handler.errors import PreconditionFailed, Unsupported


@dataclass(frozen=True)
class IfMatch:
    """The versions that will do; None where any will, if only the conversation is there."""

    versions: frozenset[int] | None
    text: str
    """As the client wrote it."""

    def check(self, version: int) -> int | None:
        """Give the version that a write is to be conditioned on. Raises: PreconditionFailed."""
        if self.versions is None:
            return None
        if version not in self.versions:
            raise PreconditionFailed(self.text, version, param="If-Match")
        return version


@dataclass(frozen=True)
class Terms:
    """What a client asks for beside the body."""

    key: str | None = None
    if_match: IfMatch | None = None

    def version(self, current: Callable[[], int]) -> int | None:
        """Give the version that a write is to be conditioned on, if any. Raises: PreconditionFailed."""
        return None if self.if_match is None else self.if_match.check(current())

    def refuse_key(self, why: str) -> None:
        """Raises: Unsupported where a key is given that cannot be honoured."""
        if self.key is not None:
            raise Unsupported(f"'Idempotency-Key' is not supported {why}.", param="Idempotency-Key")

    def refuse_if_match(self, why: str) -> None:
        """Raises: Unsupported where a version is asked for and there is nothing that has one."""
        if self.if_match is not None:
            raise Unsupported(f"'If-Match' is not supported {why}.", param="If-Match")
