"""The door itself: an event comes in, its route is found and its arguments are checked, the work is done.

Powertools finds the route and documents it. It keeps the current event on a class, so only the finding
happens under a lock: a route gives back its work as a function, and that runs outside, beside other requests.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response

from handler.errors import InternalError, MethodNotAllowed, NotFound, RequestError
from handler.routes import events
from handler.routes.answers import Bytes, Page, Work, error_answer, proxy_answer
from handler.routes.table import VERSION, Endpoint, document_responses
from handler.routes.validation import Validation
from handler.settings import Settings
from handler.telemetry import Telemetry

DESCRIPTION = (
    "OpenAI's API over a model that runs inside this function. Fields that are not listed here are "
    "refused with 400; what has no place in OpenAI's shapes is in `dormouse`."
)
KEYS = "An API key, or a token of the user pool. A server that only its own machine can reach asks for none."


class Api:
    """All routes of the server."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        settings: Settings,
        telemetry: Telemetry,
        now: Callable[[], float],
    ) -> None:
        self._settings, self._telemetry = settings, telemetry
        self._lock = threading.Lock()
        self._resolver = APIGatewayRestResolver(debug=False)
        self._resolver.use([Validation(settings, now)])
        self._resolver.exception_handler(RequestError)(_carry)
        self._resolver.not_found(_no_such_path)
        self._paths: dict[re.Pattern[str], list[str]] = {}
        document = Endpoint("GET", "/openapi.json", self._document, "This document", "Service", Page)
        self.endpoints = (*endpoints, document)
        for endpoint in self.endpoints:
            self._add(endpoint)
        self._openapi: dict[str, Any] | None = None

    def answer(self, raw: Mapping[str, Any], context: Any) -> dict[str, Any] | Bytes:
        """Answer an event, whatever comes; nothing is raised."""
        request_id = "unknown"
        try:
            event = events.rest_event(raw)
            request_id = events.request_id(event, context)
            self._telemetry.begins(request_id)
            self._check_path(event)
            result = self._find(event, context)()
            return proxy_answer(result, request_id, streaming=self._settings.streaming)
        except RequestError as error:
            self._telemetry.refused(error, request_id)
            return error_answer(error, request_id)
        except Exception as error:
            self._telemetry.bug(error, request_id)
            return error_answer(InternalError(request_id), request_id)

    def openapi(self, base: str) -> str:
        """The OpenAPI document of these very routes, as JSON, for whoever finds them below `base`."""
        if self._openapi is None:
            from aws_lambda_powertools.event_handler.openapi.models import HTTPBearer

            schema = self._resolver.get_openapi_json_schema(
                title="Dormouse",
                version=VERSION,
                description=DESCRIPTION,
                security_schemes={"key": HTTPBearer(description=KEYS)},
                security=[{"key": []}],
            )
            self._openapi = json.loads(schema)
        return json.dumps({**self._openapi, "servers": [{"url": base or "/"}]}, ensure_ascii=False)

    def _add(self, endpoint: Endpoint) -> None:
        self._resolver.route(
            endpoint.path,
            endpoint.method,
            summary=endpoint.summary,
            tags=[endpoint.tag],
            operation_id=endpoint.operation_id,
            responses=document_responses(endpoint),
        )(endpoint.function)
        rule = re.sub(r"<\w+>", r"[^/]+", endpoint.path.rstrip("/"))
        self._paths.setdefault(re.compile(f"{rule}/*"), []).append(endpoint.method)

    def _check_path(self, event: events.Event) -> None:
        method, path = event["httpMethod"].upper(), event["path"]
        allowed = [m for rule, methods in self._paths.items() if rule.fullmatch(path) for m in methods]
        if not allowed:
            raise NotFound(f"There is nothing at {method} {path}.", code="unknown_url")
        if method not in allowed:
            raise MethodNotAllowed(
                f"{path} takes {', '.join(sorted(allowed))}, not {method}.", sorted(allowed)
            )

    def _find(self, event: events.Event, context: Any) -> Work:
        with self._lock:
            found = self._resolver.resolve(event, context)["body"]
        if isinstance(found, RequestError):
            raise found
        work: Work = found
        return work

    def _document(self) -> Response[Any]:
        base = events.base_path(self._resolver.current_event.raw_event)
        return Response(200, body=lambda: Page(self.openapi(base), "application/json", {}))


def _no_such_path(_: Exception) -> Response[RequestError]:
    return _carry(NotFound("There is nothing at this path.", code="unknown_url"))


def _carry(error: RequestError) -> Response[RequestError]:
    """Bring an error out of the resolver, which would else log it as its own."""
    return Response(error.status, body=error)
