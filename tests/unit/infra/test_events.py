"""The sample events are what the template's API would send."""

from __future__ import annotations

import json
import re

import pytest

from handler.keys import bearer_key
from handler.routes.events import tenant
from handler.settings import read_settings
from tests.stack import (
    function_environment,
    local_variables,
    routes,
    sample_event,
    sample_names,
)


def api_resource(method: str, path: str) -> str:
    """Which of the template's resources API Gateway picks: the most specific one that matches."""
    rules = {
        resource: re.compile(re.sub(r"\\\{proxy\\\+\\\}", ".+", re.escape(resource)))
        for asked, resource in routes()
        if asked == method
    }
    return max((resource for resource, rule in rules.items() if rule.fullmatch(path)), key=specificity)


def specificity(resource: str) -> tuple[bool, int]:
    return "{proxy+}" not in resource, len(resource)


@pytest.mark.parametrize("name", [n for n in sample_names() if not n.startswith("function-url")])
def test_event_matches_a_route(name: str) -> None:
    """Method, path, resource and context of an event tell one story, and the template has the route."""
    event = sample_event(name)
    context = event["requestContext"]
    assert event["resource"] == api_resource(event["httpMethod"], event["path"])
    assert (context["resourcePath"], context["httpMethod"]) == (event["resource"], event["httpMethod"])
    assert context["path"] == f"/{context['stage']}{event['path']}"
    proxy = (event["pathParameters"] or {}).get("proxy")
    assert event["path"] == event["resource"].replace("{proxy+}", proxy or "")
    assert event["multiValueHeaders"] == {key: [value] for key, value in event["headers"].items()}


@pytest.mark.parametrize("name", sample_names())
def test_event_is_whole(name: str) -> None:
    """Its body is JSON text, and the sample asks for a stream when its name says so."""
    event = sample_event(name)
    body = json.loads(event["body"]) if event["body"] else {}
    assert body.get("stream", False) is name.endswith("-stream")


def test_the_function_url_event_is_payload_2() -> None:
    """The second door sends another shape: version, rawPath and requestContext.http."""
    event = sample_event("function-url-chat-stream")
    assert event["version"] == "2.0"
    assert event["rawPath"] == event["requestContext"]["http"]["path"] == "/v1/chat/completions"


@pytest.mark.parametrize("name", [n for n in sample_names() if not n.startswith("function-url")])
def test_event_brings_what_the_authorizer_found(name: str) -> None:
    """A request that needs a key has a whole one, and the tenant whose it is; the page has neither."""
    event = sample_event(name)
    authorizer = event["requestContext"].get("authorizer")
    if name == "page":
        assert authorizer is None
        assert "Authorization" not in event["headers"]
    else:
        assert bearer_key(event["headers"]["Authorization"]).id == authorizer["key"]
        assert tenant(event) == authorizer["tenant"] == "alice"


def test_the_events_need_no_table() -> None:
    """SAM replaces variables that the template has and adds none; these put conversations where Lambda may
    write."""
    deployed = function_environment({"Table": "Table"})
    assert set(local_variables()) <= set(deployed)
    assert read_settings({**deployed, **local_variables()}).sessions.startswith("/tmp/")
