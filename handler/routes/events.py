"""The shapes of AWS's HTTP events: REST API proxy (payload 1.0) as it is, payload 2.0 turned into it.

An HTTP API sends either, a Function URL the second.
Source: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html and
https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from handler.errors import InvalidRequest, Unauthorized
from handler.runtime_stream import JOINED

LOCAL_TENANT = "local"
_NOBODY_ASKED = {"integrationLatency", "iam"}  # what AWS itself says, without or beside an authorizer of ours
Event = dict[str, Any]


def rest_event(event: Mapping[str, Any]) -> Event:
    """Give an event of either payload the shape of payload 1.0.

    Raises: InvalidRequest for an event that is no HTTP request.
    """
    context = event.get("requestContext") or {}
    if event.get("version") == "2.0" and isinstance(http := context.get("http"), Mapping):
        query = parse_qs(event.get("rawQueryString") or "", keep_blank_values=True)
        path = event.get("rawPath") or "/"
        return {
            **event,
            "httpMethod": route_method(str(http.get("method", ""))),
            "path": _own_path(path, event),
            "headers": event.get("headers") or {},
            "multiValueHeaders": {},
            "queryStringParameters": {name: values[-1] for name, values in query.items()},
            "multiValueQueryStringParameters": query,
            "requestContext": {**context, "path": path, "stage": "$default"},
        }
    if not isinstance(event.get("httpMethod"), str) or not isinstance(event.get("path"), str):
        raise InvalidRequest("The event is neither an API Gateway proxy event nor a Function URL event.")
    path, headers = _own_path(event["path"], event), event.get("headers") or {}
    method = route_method(event["httpMethod"])
    return {**event, "httpMethod": method, "path": path, "headers": headers, "requestContext": context}


def route_method(method: str) -> str:
    """The method by which a route is found. HEAD asks for a GET's answer, whose body is left out by whatever
    speaks HTTP in front of us: it knows the length of what it leaves out.

    Source: https://www.rfc-editor.org/rfc/rfc9110#name-head
    """
    return "GET" if method.upper() == "HEAD" else method


def _own_path(path: str, event: Mapping[str, Any]) -> str:
    """A path as the gateway's route has it: without a custom domain's base path, or an HTTP API's stage.

    Source: https://docs.aws.amazon.com/apigateway/latest/developerguide/rest-api-mappings.html
    """
    route = str(event.get("resource") or event.get("routeKey") or "").rpartition(" ")[2]
    parameters = event.get("pathParameters") or {}
    own = re.sub(r"\{([^+}]+)\+?\}", lambda name: str(parameters.get(name[1], name[0])), route)
    return own if own.startswith("/") and path.endswith(own) else path


def base_path(event: Event) -> str:
    """What stands before the server's own paths at this door: a stage, a domain's base path, or nothing."""
    whole, own = str(event["requestContext"].get("path") or ""), str(event["path"])
    return whole.removesuffix(own) if whole.endswith(own) else ""


def is_joined(event: Mapping[str, Any]) -> bool:
    """Whether a streamed answer is joined on its way: it came in by a route that is not streamed."""
    return JOINED in event


def left_s(event: Mapping[str, Any], limit_s: float, now_s: float) -> float:
    """What is left of a limit that began when the gateway took the request: a cold start is in it.

    All of it where the event does not say when that was, or where it cannot be true: a sample is older than
    the limit, for whose end the gateway would not have waited, and clocks may be apart.

    Source: https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-mapping-template-reference.html
    """
    context = event["requestContext"]
    taken_ms = context.get("requestTimeEpoch", context.get("timeEpoch"))
    left = limit_s - (now_s - taken_ms / 1000) if isinstance(taken_ms, int) else limit_s
    return left if 0 < left < limit_s else limit_s


def body_bytes(event: Mapping[str, Any]) -> bytes:
    """The body as it was sent. Raises: InvalidRequest for a broken base64 wrapping."""
    body = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return str(body).encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("The request body is not valid base64, although the event says so.") from None


def header(event: Mapping[str, Any], name: str) -> str | None:
    """A request header, whatever case it was sent in."""
    return next((str(v) for k, v in event["headers"].items() if k.lower() == name and v is not None), None)


def query(event: Mapping[str, Any]) -> dict[str, list[str]]:
    """Every query parameter with all its values."""
    several = event.get("multiValueQueryStringParameters")
    if several:
        return {name: list(values) for name, values in several.items()}
    return {name: [value] for name, value in (event.get("queryStringParameters") or {}).items()}


def tenant(event: Mapping[str, Any]) -> str:
    """Whose request it is, as the authorizer in front of us found; nobody else can say so.

    An HTTP API puts that under the authorizer's kind. IAM's callers are one tenant (docs/adr/0052).

    Raises: Unauthorized where it found nobody, or somebody by the name that means nobody was asked.
    """
    authorizer = event["requestContext"].get("authorizer") or {}
    if authorizer.keys() <= _NOBODY_ASKED:
        return LOCAL_TENANT
    said = {**authorizer, **(authorizer.get("lambda") or {}), **(authorizer.get("jwt") or {})}
    claims = said.get("claims") or {}
    for found in (said.get("tenant"), claims.get("sub"), said.get("principalId")):
        if isinstance(found, str) and found and found != LOCAL_TENANT:
            return found
    raise Unauthorized(
        "The authorizer in front of this server names no tenant, or one whose name is reserved."
    )


def request_id(event: Mapping[str, Any], context: Any) -> str:
    """The id that ties the answer to its log lines."""
    found = event["requestContext"].get("requestId") or getattr(context, "aws_request_id", None)
    return str(found or "unknown")
