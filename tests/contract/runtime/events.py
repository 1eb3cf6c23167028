"""Requests as API Gateway invokes the function with them, and the server-sent events of its answers."""

from __future__ import annotations

import json
from typing import Any

from tests.contract.runtime.runtime_api import Invocation


def event(method: str, resource: str, path: str, body: Any = None, **query: str) -> dict[str, Any]:
    """A request by a route; the paths that are streamed have a resource of their own."""
    return {
        "resource": resource,
        "path": path,
        "httpMethod": method,
        "headers": {"Content-Type": "application/json"},
        "queryStringParameters": query or None,
        "requestContext": {"stage": "prod", "requestId": "r-1"},
        "body": None if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }


def events_of(answer: Invocation) -> list[Any]:
    """The events that have arrived."""
    lines = answer.payload.decode().splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
