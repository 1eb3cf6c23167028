"""The request headers that a route takes, as parameters of its signature, and their syntax.

Source: https://www.rfc-editor.org/rfc/rfc9110#name-etag and #name-if-match
"""

from __future__ import annotations

import re
from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Header

from handler.chat.terms import IfMatch, Terms
from handler.errors import InvalidRequest

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x20-\x7e]*$",
        description="The same request under the same key is carried out once, and its answer given again.",
    ),
]
IfMatchHeader = Annotated[
    str | None,
    Header(
        alias="If-Match",
        max_length=1024,
        description="The `ETag` of the conversation that this is meant for; at another version: 412.",
    ),
]
TimeLimit = Annotated[
    float | None,
    Header(
        alias="x-request-timeout-ms",
        gt=0,
        description="Milliseconds from now in which to answer; what there is by then is the answer.",
    ),
]
CONDITIONAL = ("Idempotency-Key", "If-Match")
"""All there are. They are dangerous to ignore: what would change something is refused where it takes none."""

_TAG = r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"'
_TAGS = re.compile(rf"{_TAG}(?:[ \t]*,[ \t]*{_TAG})*")


def terms(idempotency_key: str | None = None, if_match: str | None = None) -> Terms:
    """Read both headers. Raises: InvalidRequest."""
    return Terms(idempotency_key, None if if_match is None else _if_match(if_match))


def _if_match(text: str) -> IfMatch:
    text = text.strip()
    if text == "*":
        return IfMatch(None, text)
    if not _TAGS.fullmatch(text):
        raise InvalidRequest(
            'The header If-Match must be * or a list of entity tags in double quotes, such as "7".',
            param="If-Match",
        )
    # A weak tag never matches here, and what is no version of ours is none of any conversation.
    strong = [tag for weak, tag in re.findall(_TAG, text) if not weak]
    return IfMatch(frozenset(int(tag) for tag in strong if re.fullmatch(r"[1-9][0-9]{0,17}", tag)), text)
