"""What a route gives -> a proxy answer: JSON, a page, or a stream of server-sent events.

A streamed answer is a generator of bytes: first a JSON prelude with status and headers and eight NUL bytes,
then the body. Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from handler.chat.outcome import Outcome
from handler.errors import MethodNotAllowed, QuotaExceeded, RequestError, VersionConflict
from handler.runtime_stream import PRELUDE_END
from handler.schema.events import PING

Bytes = Generator[bytes, None, None]
COMMON = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True)
class Page:
    """A text that is no JSON made by a model."""

    text: str
    content_type: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Stream:
    """A body that comes in pieces, and which may be closed early."""

    body: Bytes


@dataclass(frozen=True)
class Headed:
    """A result with headers of its own."""

    result: BaseModel | Stream
    headers: dict[str, str]


Result = BaseModel | Page | Stream | Headed
Work = Callable[[], Result]


def proxy_answer(result: Result, request_id: str, *, streaming: bool) -> dict[str, Any] | Bytes:
    """Wrap a result; a stream is joined where the runtime cannot stream."""
    headers = {**COMMON, "x-request-id": request_id}
    if isinstance(result, Headed):
        headers.update(result.headers)
        result = result.result
    if isinstance(result, Stream):
        headers["Content-Type"] = "text/event-stream; charset=utf-8"
        if streaming:
            return _with_prelude(headers, result.body)
        with closing(result.body):
            return _proxy(200, headers, b"".join(result.body).decode())
    if isinstance(result, Page):
        headers["Content-Type"] = result.content_type
        return _proxy(200, {**headers, **result.headers}, result.text)
    headers["Content-Type"] = "application/json"
    return _proxy(200, headers, result.model_dump_json())


def headed(outcome: Outcome[Any], result: BaseModel | Stream) -> Headed:
    """Tell in headers how an answer came about."""
    headers = {}
    if outcome.version is not None:
        headers["ETag"] = entity_tag(outcome.version)
    if outcome.replayed:
        headers["x-dormouse-replayed"] = "true"
    return Headed(result, headers)


def entity_tag(version: int) -> str:
    """Write a conversation's version as HTTP's ETag: it stands for the items, not for the metadata."""
    return f'"{version}"'


def error_answer(error: RequestError, request_id: str) -> dict[str, Any]:
    """Wrap an error; `x-should-retry` keeps clients from repeating what a repetition would double.

    Source: `_should_retry` of the openai package, which otherwise retries every 408, 409, 429 and 5xx.
    """
    headers = {**COMMON, "x-request-id": request_id, "Content-Type": "application/json"}
    headers["x-should-retry"] = "true" if error.retryable else "false"
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = ", ".join(error.allowed)
    if isinstance(error, VersionConflict) and error.current is not None:
        headers["ETag"] = entity_tag(error.current)
    if error.retryable:
        headers["Retry-After"] = "1"
    if isinstance(error, QuotaExceeded):
        headers["Retry-After"] = str(error.reset_s)
        headers |= rate_limit_headers(error.limit_tokens, 0, error.reset_s)
    return _proxy(error.status, headers, json.dumps(error.envelope()))


def rate_limit_headers(limit_tokens: int, remaining_tokens: int, reset_s: int) -> dict[str, str]:
    """Name a quota as OpenAI does. Source: https://platform.openai.com/docs/guides/rate-limits"""
    hours, minutes = divmod(reset_s // 60, 60)
    return {
        "x-ratelimit-limit-tokens": str(limit_tokens),
        "x-ratelimit-remaining-tokens": str(remaining_tokens),
        "x-ratelimit-reset-tokens": f"{hours}h{minutes}m{reset_s % 60}s",
    }


def server_sent(
    events: Iterator[Any],
    frame: Callable[[Any], bytes],
    frame_error: Callable[[Exception], bytes],
    end: bytes,
) -> Stream:
    """Frame events; after the first byte an error can only be one more event, and then the end.

    A None among the events says that there is nothing yet: a comment keeps proxies awake, and a connection
    that nobody holds any more is noticed. `frame_error` logs as well: all that an error on the way out needs.
    """

    def body() -> Bytes:
        try:
            for event in events:
                yield PING if event is None else frame(event)
            yield end
        except Exception as error:
            yield frame_error(error)
        finally:
            try:
                close = getattr(events, "close", None)
                if close is not None:
                    close()
            except Exception as error:  # what was said could not be kept, and nobody is left to be told
                frame_error(error)

    return Stream(body())


def _with_prelude(headers: dict[str, str], body: Bytes) -> Bytes:
    with closing(body):
        first = next(body)  # begun before its head: closing what has not begun cleans nothing up
        yield json.dumps({"statusCode": 200, "headers": headers}).encode() + PRELUDE_END
        yield first
        yield from body


def _proxy(status: int, headers: dict[str, str], body: str) -> dict[str, Any]:
    return {"statusCode": status, "headers": headers, "body": body, "isBase64Encoded": False}
