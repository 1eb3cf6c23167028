"""The door: every argument of a route is checked against its signature before the route runs.

Powertools derives the OpenAPI document from the same signatures: what is published is what is checked. Its
own validation is not used: it takes form bodies and lists for objects, ignores unknown query parameters,
and lets NaN and lone surrogates through.
"""

from __future__ import annotations

import math
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.middlewares import BaseMiddlewareHandler, NextMiddleware
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from handler.chat.budget import Caller
from handler.errors import InvalidRequest, TooLarge, Unsupported, UnsupportedMedia
from handler.routes import events
from handler.routes.headers import CONDITIONAL
from handler.schema.problems import invalid_request
from handler.settings import Settings


class Validation(BaseMiddlewareHandler[Any]):
    """Fills in a route's arguments, and the `Caller` in the resolver's context."""

    def __init__(self, settings: Settings, now: Callable[[], float]) -> None:
        self._settings, self._now = settings, now

    def handler(self, app: Any, next_middleware: NextMiddleware) -> Response[Any]:
        """Check, then go on. Raises: InvalidRequest, TooLarge, UnsupportedMedia."""
        event: events.Event = app.current_event.raw_event
        dependant = app.context["_route"].dependant
        values: dict[str, Any] = dict(app.context["_route_args"])
        values.update(_query_arguments(dependant.query_params, events.query(event)))
        values.update(_header_arguments(dependant.header_params, event))
        body = None
        if dependant.body_params:
            field = dependant.body_params[0]
            body = _body(field.field_info.annotation, event, self._settings.max_body_bytes)
            values[field.name] = body
        app.context["_route_args"] = values
        is_streamed = getattr(body, "stream", values.get("stream")) is True
        app.context["caller"] = self._caller(event, app.lambda_context, is_streamed=is_streamed)
        return next_middleware(app)

    def _caller(self, event: events.Event, context: Any, *, is_streamed: bool) -> Caller:
        settings = self._settings
        streamed = settings.streaming and is_streamed and not events.is_joined(event)
        gateway_s = settings.gateway_stream_timeout_s if streamed else settings.gateway_timeout_s
        allowed_s = list[float]()
        remaining: Callable[[], int] | None = getattr(context, "get_remaining_time_in_millis", None)
        if remaining is not None:
            allowed_s.append(remaining() / 1000)
        asked = events.header(event, "x-request-timeout-ms")
        if asked is not None:
            allowed_s.append(_milliseconds(asked) / 1000)
        return Caller(
            tenant=events.tenant(event),
            request_id=events.request_id(event, context),
            limit_s=max(0.0, min([events.left_s(event, gateway_s, self._now()), *allowed_s])),
            attempt_s=max(0.0, min([gateway_s, *allowed_s])),
            retries=_retries(events.header(event, "x-stainless-retry-count")),
            patience_s=_patience_s(events.header(event, "x-stainless-read-timeout")),
            when_abandoned=getattr(context, "when_abandoned", lambda _: None),
        )


def _query_arguments(fields: list[Any], given: Mapping[str, list[str]]) -> dict[str, Any]:
    known = {field.alias: field for field in fields}
    for name, values in given.items():
        if name not in known:
            raise InvalidRequest(f"Unknown query parameter: {name!r}.", param=name, code="unknown_parameter")
        if len(values) > 1:
            raise InvalidRequest(f"The query parameter {name!r} is given {len(values)} times.", param=name)
    arguments = {}
    for name, field in known.items():
        if name not in given:
            arguments[field.name] = field.get_default()
            continue
        value, problems = field.validate(given[name][0], loc=(name,))
        if problems:
            raise invalid_request(problems, {name: given[name][0]})
        arguments[field.name] = value
    return arguments


def _header_arguments(fields: list[Any], event: events.Event) -> dict[str, Any]:
    known = {field.alias: field for field in fields}  # Powertools has lowered the names
    arguments = {}
    for name in CONDITIONAL:
        given, field = events.header(event, name.lower()), known.get(name.lower())
        if field is None:
            if given is not None and event["httpMethod"].upper() != "GET":
                raise Unsupported(f"The header {name!r} is not supported by this call.", param=name)
            continue
        value, problems = field.validate(given, loc=(name,))
        if problems:
            raise invalid_request(problems, {name: given})
        arguments[field.name] = value
    return arguments


def _body(model: type[BaseModel], event: events.Event, max_bytes: int) -> BaseModel:
    kind = (events.header(event, "content-type") or "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise UnsupportedMedia(f"The request body must be application/json, not {kind[:100]!r}.")
    raw = events.body_bytes(event).removeprefix(BOM_UTF8)  # as Windows writes files
    if len(raw) > max_bytes:
        raise TooLarge(f"The request body has {len(raw)} bytes; at most {max_bytes} are accepted.")
    try:
        data = from_json(raw, allow_inf_nan=False) if raw.strip() else {}
    except ValueError as error:
        message = f"The request body is not valid JSON: {error}."
        raise InvalidRequest(message, code="invalid_json") from None
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise invalid_request(error.errors(include_url=False), data) from None


def _retries(text: str | None) -> int:
    """How often OpenAI's clients have sent this request before.

    Source: `_build_headers` of the openai package. Another client's idea of this header is none of ours.
    """
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,3}", text) else 0


def _patience_s(text: str | None) -> float:
    return float(text) if text is not None and re.fullmatch(r"[0-9]{1,6}(\.[0-9]+)?", text) else math.inf


def _milliseconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise InvalidRequest(
            "The header x-request-timeout-ms must be a number of milliseconds above 0.",
            param="x-request-timeout-ms",
        )
    return value
