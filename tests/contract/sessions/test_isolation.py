"""One tenant's ids mean nothing to another, on every route there is, whatever the tenants are called."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from handler.sessions import SessionStore, Usage
from tests.contract.sessions.conftest import RETENTION_S
from tests.contract.sessions.stores import HandClock
from tests.contract.sessions.turns import conversation, message, response
from tests.unit.handler.conftest import Answer, Door
from tests.unit.handler.scripted_engine import MODEL

ONE, ITEM = "/v1/conversations/$conversation", "/v1/conversations/$conversation/items/$item"
OWN, RESPONSE = "/v1/conversations/$own", "/v1/responses/$response"
TURN = {"model": MODEL, "input": "Hi"}
SAID = {"items": [{"role": "user", "content": "Hi"}]}
NOTHING: list[tuple[str, Any]] = []
SOON = {"x_request_timeout_ms": "500"}  # a cancel waits for an unknown response for most of its time

ATTEMPTS: dict[tuple[str, str], list[tuple[str, Any]]] = {
    ("GET", "/"): NOTHING,
    ("GET", "/health"): NOTHING,
    ("GET", "/openapi.json"): NOTHING,
    ("GET", "/v1/models"): NOTHING,
    ("GET", "/v1/models/<model>"): NOTHING,
    ("GET", "/v1/models/<model>/card"): NOTHING,
    ("GET", "/v1/usage"): NOTHING,
    ("POST", "/v1/erase"): NOTHING,
    ("POST", "/v1/chat/completions"): NOTHING,
    ("POST", "/v1/completions"): NOTHING,
    ("POST", "/v1/responses"): [
        ("/v1/responses", {**TURN, "conversation": "$conversation"}),
        ("/v1/responses", {**TURN, "conversation": {"id": "$conversation"}, "stream": True}),
        ("/v1/responses", {**TURN, "previous_response_id": "$response"}),
        ("/v1/responses", {**TURN, "previous_response_id": "$response", "store": False}),
        ("/v1/responses", {**TURN, "input": "", "previous_response_id": "$cut"}),
    ],
    ("POST", "/v1/responses/input_tokens"): [
        ("/v1/responses/input_tokens", {"input": "Hi", "conversation": "$conversation"}),
        ("/v1/responses/input_tokens", {"input": "Hi", "previous_response_id": "$response"}),
        ("/v1/responses/input_tokens", {"previous_response_id": "$cut"}),
    ],
    ("GET", "/v1/responses/<response_id>"): [
        (RESPONSE, None),
        (f"{RESPONSE}?stream=true", None),
        ("/v1/responses/$cut?stream=true&starting_after=3", None),
    ],
    ("POST", "/v1/responses/<response_id>/cancel"): [(f"{RESPONSE}/cancel", None)],
    ("DELETE", "/v1/responses/<response_id>"): [(RESPONSE, None)],
    ("GET", "/v1/responses/<response_id>/input_items"): [
        (f"{RESPONSE}/input_items", None),
        ("/v1/responses/$own_response/input_items?after=$item", None),
    ],
    ("POST", "/v1/conversations"): NOTHING,
    ("GET", "/v1/conversations"): [
        ("/v1/conversations?after=$conversation", None),
        ("/v1/conversations?after=$conversation&hidden=true", None),
    ],
    ("GET", "/v1/conversations/<conversation_id>"): [(ONE, None)],
    ("POST", "/v1/conversations/<conversation_id>"): [(ONE, {"metadata": {"a": "b"}})],
    ("DELETE", "/v1/conversations/<conversation_id>"): [(ONE, None)],
    ("GET", "/v1/conversations/<conversation_id>/export"): [(f"{ONE}/export", None)],
    ("POST", "/v1/conversations/<conversation_id>/items"): [(f"{ONE}/items", SAID)],
    ("GET", "/v1/conversations/<conversation_id>/items"): [
        (f"{ONE}/items", None),
        (f"{OWN}/items?after=$item", None),
    ],
    ("GET", "/v1/conversations/<conversation_id>/items/<item_id>"): [
        (ITEM, None),
        (f"{OWN}/items/$item", None),
    ],
    ("DELETE", "/v1/conversations/<conversation_id>/items/<item_id>"): [
        (ITEM, None),
        (f"{OWN}/items/$item", None),
    ],
}
"""Every route, and every place in which it takes an id: `$name` is one of `Ids`, `$own…` is the caller's."""


@dataclass(frozen=True)
class Ids:
    """What a tenant has."""

    conversation: str
    item: str
    response: str
    cut: str

    def into(self, value: Any, own: Ids) -> Any:
        """Put the ids in their places."""
        text = json.dumps(value).replace("$own_response", own.response).replace("$own", own.conversation)
        for name, id in vars(self).items():
            text = text.replace(f"${name}", id)
        return json.loads(text)

    def hidden(self, answer: Answer) -> tuple[int, dict[str, str], str]:
        """What is left of an answer without them."""
        body = answer.body
        for id in vars(self).values():
            body = body.replace(id, "<id>")
        return answer.status, answer.headers, body


NEVER = Ids(*(f"{prefix}_{'0' * 32}" for prefix in ("conv", "msg", "resp", "resp")))


def furnish(door: Door, tenant: str, answers_before: int = 0) -> Ids:
    """Give a tenant a conversation with a turn, and an answer that was cut."""
    id = door.call("POST", "/v1/conversations", {"metadata": {"secret": tenant}}, tenant=tenant).json["id"]
    made = door.call("POST", "/v1/responses", {**TURN, "conversation": id}, tenant=tenant).json
    cut = door.call("POST", "/v1/responses", {**TURN, "max_output_tokens": 2}, tenant=tenant).json
    door.await_count(answers_before + 2, tenant)
    return Ids(id, made["output"][0]["id"], made["id"], cut["id"])


def belongings(door: Door, tenant: str, ids: Ids) -> list[str]:
    """All that a tenant can read of its own."""
    paths = [
        "/v1/conversations",
        "/v1/conversations?hidden=true",
        "/v1/usage",
        f"/v1/conversations/{ids.conversation}/export",
        f"/v1/responses/{ids.response}",
        f"/v1/responses/{ids.response}/input_items",
        f"/v1/responses/{ids.cut}",
    ]
    answers = [door.call("GET", path, tenant=tenant) for path in paths]
    assert {answer.status for answer in answers} == {200}
    return [answer.body for answer in answers]


def test_every_route_is_tried(door: Door) -> None:
    """A new route has to say here where it takes ids, or that it takes none."""
    assert set(ATTEMPTS) == {(each.method, each.path) for each in door.application.api.endpoints}
    for (_, path), attempts in ATTEMPTS.items():
        assert attempts or "_id>" not in path


def test_anothers_ids_are_as_if_they_had_never_been(door: Door) -> None:
    """Status, headers and body are those of an id that nobody ever had, and the owner's things stay as they
    were.
    """
    theirs, own = furnish(door, "alice"), furnish(door, "bob")
    before = belongings(door, "alice", theirs)
    for (method, _), attempts in ATTEMPTS.items():
        for path, body in attempts:
            tried = door.call(method, theirs.into(path, own), theirs.into(body, own), tenant="bob", **SOON)
            never = door.call(method, NEVER.into(path, own), NEVER.into(body, own), tenant="bob", **SOON)
            assert tried.status == 404, (method, path, body)
            assert theirs.hidden(tried) == NEVER.hidden(never), (method, path, body)
    assert belongings(door, "alice", theirs) == before


def test_what_has_expired_is_as_if_it_had_never_been(door: Door, clock: HandClock) -> None:
    """From the second of its expiry on, on every route, though nothing has deleted it yet."""
    old = furnish(door, "alice")
    clock.now_s += RETENTION_S
    own = furnish(door, "alice", answers_before=2)
    for (method, _), attempts in ATTEMPTS.items():
        for path, body in attempts:
            tried = door.call(method, old.into(path, own), old.into(body, own), tenant="alice", **SOON)
            never = door.call(method, NEVER.into(path, own), NEVER.into(body, own), tenant="alice", **SOON)
            assert (tried.status, old.hidden(tried)) == (404, NEVER.hidden(never)), (method, path, body)
    listed = door.call("GET", "/v1/conversations", tenant="alice").json["data"]
    assert [each["id"] for each in listed] == [own.conversation]


def test_what_is_listed_and_counted_is_ones_own(door: Door) -> None:
    """Somebody without anything sees nothing, whatever others have; erasing everything erases only that."""
    theirs = furnish(door, "alice")
    before = belongings(door, "alice", theirs)
    for path in ("/v1/conversations", "/v1/conversations?hidden=true"):
        assert door.call("GET", path, tenant="bob").json["data"] == []
    assert door.call("GET", "/v1/usage", tenant="bob").json["data"][0]["results"] == []
    erased = door.call("POST", "/v1/erase", {"confirm": "everything"}, tenant="bob")
    assert erased.status == 200
    assert belongings(door, "alice", theirs) == before


NAMES = [
    "acme",
    "ACME",
    "acme ",
    "acme#",
    "acme#conv_a",
    "acme%23",
    "acme%23conv_a",
    "%61cme",
    "acme\x00",
    "acme/../bob",
    "sha256:acme",
    "caf\u00e9",
    "cafe\u0301",
    "租户🐭",
    "x" * 5_000,
    "x" * 4_999 + "y",
    "租" * 900,
]


def test_no_name_reaches_into_another(store: SessionStore) -> None:
    """However tenants are called, the same ids are different things, listed, counted and erased apart."""
    for name in NAMES:
        turn = [message("msg_a", name[-40:])]
        store.append(name, conversation("conv_a", title=name[:40]), turn, response=response("resp_a"))
        store.add_usage(name, "2026-11-25", Usage(len(name)))
        assert store.claim(name, "key", owner=name, fingerprint=name, lease_s=9).state == "mine"
    for number, name in enumerate(NAMES):
        assert [each.title for each in store.conversations(name).data] == [name[:40]]
        assert store.item(name, "conv_a", "msg_a").content[0]["text"] == name[-40:]
        assert store.usage(name, "2026-11-25") == Usage(len(name))
        store.erase(name)
        assert store.conversations(name).data == ()
        for other in NAMES[number + 1 :]:
            assert store.get(other, "conv_a").title == other[:40]


@pytest.mark.parametrize(
    "authorizer",
    [
        {"tenant": ""},
        {"tenant": "local"},
        {"principalId": ""},
        {"claims": {}},
        {"lambda": None},
        {"lambda": {"tenant": "local"}},
        {"jwt": {"claims": {"email": "a@b.c"}, "scopes": None}},
        {"jwt": {"claims": {"sub": "local"}}},
        {"email": "a@b.c", "integrationLatency": 3},
    ],
)
def test_an_authorizer_that_names_nobody_lets_nobody_in(door: Door, authorizer: dict[str, Any]) -> None:
    """Nobody shares what is kept for requests that no authorizer has seen by having its name, or none."""
    kept = door.call("POST", "/v1/conversations", {}).json["id"]
    event: dict[str, Any] = {
        "httpMethod": "GET",
        "path": f"/v1/conversations/{kept}",
        "requestContext": {"authorizer": authorizer},
    }
    assert door.send(event).status == 401
    for nobody_asked in ({}, {"authorizer": None}, {"authorizer": {"integrationLatency": 3}}):
        assert door.send({**event, "requestContext": nobody_asked}).status == 200


@pytest.mark.parametrize(
    "named",
    [
        lambda name: {"lambda": {"tenant": name}},
        lambda name: {"jwt": {"claims": {"sub": name}, "scopes": None}},
    ],
)
def test_an_http_apis_authorizer_is_heard(door: Door, named: Callable[[str], dict[str, Any]]) -> None:
    """What it found is under its kind; who it is not told of sees nothing."""
    made = door.call("POST", "/v1/conversations", {}, tenant="alice").json
    assert seen_by(door, named("alice")) == [made["id"]]
    assert seen_by(door, named("bob")) == []


def test_iams_callers_are_one_tenant(door: Door) -> None:
    """Whoever may sign for the second door sees what the others there see, and nothing of who has a key."""
    door.call("POST", "/v1/conversations", {}, tenant="alice")
    made = door.call("POST", "/v1/conversations", {}).json
    for name in ("alice", "bob"):
        assert seen_by(door, {"iam": {"userArn": f"arn:aws:iam::1:user/{name}"}}) == [made["id"]]


def seen_by(door: Door, authorizer: dict[str, Any]) -> list[str]:
    """The conversations that are listed for a request of payload 2.0."""
    event = {
        "version": "2.0",
        "rawPath": "/v1/conversations",
        "requestContext": {"http": {"method": "GET"}, "authorizer": authorizer},
    }
    return [each["id"] for each in door.send(event).json["data"]]


def test_names_are_told_apart_by_the_door(door: Door) -> None:
    """From the authorizer to the store nothing folds two names into one."""
    made = {
        name: door.call("POST", "/v1/conversations", {"metadata": {"n": str(number)}}, tenant=name).json["id"]
        for number, name in enumerate(NAMES)
    }
    for one, other in itertools.permutations(NAMES, 2):
        assert door.call("GET", f"/v1/conversations/{made[one]}", tenant=other).status == 404
