"""Events in, proxy answers out: every door, every status, with a scripted engine behind them."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx2
import openai
import pytest

from handler.errors import Unavailable
from handler.sessions import Conversation
from tests.unit.handler.conftest import Door, OpenDoor, Wrapper, recorded, rest_event
from tests.unit.handler.scripted_engine import MODEL, scripted_engine
from tests.unit.handler.streams import ask

SAID = "Hello, how are you?"
HI = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    "name",
    ["chat", "completion", "conversation-create", "conversations", "health", "models", "page", "response"],
)
def test_recorded_event_is_answered(door: Door, name: str) -> None:
    """Events as API Gateway sends them are answered with 200."""
    answer = door.send(recorded(name))
    assert answer.status == 200
    assert answer.body


@pytest.mark.parametrize("name", ["chat-stream", "response-stream", "function-url-chat-stream"])
def test_recorded_event_is_streamed(door: Door, name: str) -> None:
    """Where the runtime streams, an answer is a prelude and then events; a Function URL is a door as good."""
    answer = door.send(recorded(name))
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.body.endswith("data: [DONE]\n\n")
    assert len(answer.events) > 3


def test_without_streaming_the_events_come_joined(open_door: OpenDoor) -> None:
    """Where the runtime cannot stream, a client that asked for it still gets its events, in one piece."""
    answer = open_door(streaming=False).application.api.answer(recorded("chat-stream"), None)
    assert isinstance(answer, dict)
    assert answer["statusCode"] == 200
    assert answer["body"].endswith("data: [DONE]\n\n")


def test_the_models_card(open_door: OpenDoor) -> None:
    """The bundle's card is served as Markdown; no card, or another model's, is a plain 404."""
    engine = scripted_engine(lambda _: SAID)
    door, card = open_door(engine), f"/v1/models/{MODEL}/card"
    assert door.call("GET", card).status == 404
    engine.card = "# Scripted 一\n"
    answer = open_door(engine).call("GET", card)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/markdown; charset=utf-8"
    assert answer.body == engine.card
    assert door.call("GET", "/v1/models/other/card").json["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("path", ["/", "/health", "/v1/conversations", "/v1/conversations/conv_none"])
def test_a_head_is_a_gets(door: Door, path: str) -> None:
    """By either payload it is answered as a GET is; whoever speaks HTTP leaves out the body."""
    url = recorded("function-url-chat-stream")
    url["rawPath"], url["requestContext"]["http"]["method"] = path, "HEAD"
    answer = door.call("GET", path)
    for found in (door.call("HEAD", path), door.send(url)):
        assert (found.status, found.body) == (answer.status, answer.body)
    assert door.call("HEAD", "/v1/erase").status == 405


def test_a_byte_order_mark(door: Door) -> None:
    """JSON in a file that Windows wrote begins with one, which says nothing."""
    event = recorded("chat")
    event["body"] = "\ufeff" + event["body"]
    assert door.send(event).status == 200


@pytest.mark.parametrize("path", ["/v1/conversations", "/v1/conversations/{}/items"])
def test_an_unknown_after_is_named(door: Door, path: str) -> None:
    """A list that goes on after nothing is refused by the parameter's name; a list of nothing is not."""
    known = door.call("POST", "/v1/conversations", {}).json["id"]
    answer = door.call("GET", f"{path.format(known)}?after=conv_none")
    assert (answer.status, answer.json["error"]["param"]) == (404, "after")
    answer = door.call("GET", "/v1/conversations/conv_none/items?after=msg_none")
    assert (answer.status, answer.json["error"]["param"]) == (404, None)


def test_base64_body(door: Door) -> None:
    """A body that API Gateway wrapped in base64 is the same body."""
    event = recorded("chat")
    event["body"] = base64.b64encode(event["body"].encode()).decode()
    event["isBase64Encoded"] = True
    assert door.send(event).status == 200


@pytest.mark.parametrize("event", [{}, {"Records": []}, {"httpMethod": 3, "path": "/"}, {"version": "2.0"}])
def test_an_event_that_is_no_request(door: Door, event: dict[str, Any]) -> None:
    """What is no HTTP event is refused with an envelope, not with an exception."""
    assert door.send(event).status == 400


def test_stage_is_no_part_of_the_path(door: Door) -> None:
    """A REST API's stage is in the request context's path and not in the route's."""
    event = rest_event("GET", "/health")
    event["requestContext"].update(stage="prod", path="/prod/health")
    assert door.send(event).status == 200


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/v1/responses/resp_none", "/"])
def test_what_a_gateway_puts_before_the_path_is_not_ours(door: Door, path: str) -> None:
    """A custom domain's base path, and the stage of an HTTP API, by either payload."""
    answer = door.call("GET", path)
    proxy = {"resource": "/{proxy+}", "pathParameters": {"proxy": path[1:]}}
    one = {"resource": "/v1/responses/{response_id}", "pathParameters": {"response_id": "resp_none"}}
    route = one if path.endswith("none") else proxy if path != "/" else {"resource": "/"}
    rest = {**rest_event("GET", f"/llm{path}"), **route}
    http = {
        "version": "2.0",
        "routeKey": f"GET {route['resource']}",
        "rawPath": f"/prod{path}",
        "pathParameters": route.get("pathParameters"),
        "requestContext": {"http": {"method": "GET"}, "stage": "prod"},
    }
    for event in (rest, {**rest, "version": "1.0"}, http):
        found = door.send(event)
        assert (found.status, found.body) == (answer.status, answer.body)


def test_a_bug_is_not_told(open_door: OpenDoor, caplog: pytest.LogCaptureFixture) -> None:
    """An error that nobody foresaw is a bare 500 for the client and a whole story for the log."""

    def broken(_: str) -> str:
        raise KeyError("the secret of the house")

    answer = open_door(scripted_engine(broken)).post("/v1/chat/completions", messages=HI)
    assert answer.status == 500
    assert answer.headers["x-should-retry"] == "false"
    assert "secret" not in answer.body
    assert "r-1" in answer.json["error"]["message"]
    assert "the secret of the house" in caplog.text


def test_an_error_after_the_first_byte_is_an_event(open_door: OpenDoor) -> None:
    """Once a stream has begun an error is its last event, in either API's own form, and nothing is [DONE]."""

    def broken(_: str) -> str:
        raise Unavailable("The model is gone.")

    door = open_door(scripted_engine(broken), streaming=True)
    chat = door.post("/v1/chat/completions", messages=HI, stream=True)
    assert chat.status == 200
    assert chat.events[-1]["error"]["code"] == "unavailable"
    response = door.post("/v1/responses", input="Hi", stream=True)
    assert response.events[-1]["type"] == "error"
    assert response.events[-1]["message"] == "The model is gone."
    assert response.events[-1]["error"] == chat.events[-1]["error"]
    numbers = [event["sequence_number"] for event in response.events]
    assert numbers == list(range(len(numbers)))
    assert "[DONE]" not in chat.body + response.body


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_openais_client_raises_what_ends_a_stream(open_door: OpenDoor, path: str) -> None:
    """It looks for `error` in an event's data, whatever the event is called, and passes all else on."""

    def broken(_: str) -> str:
        raise Unavailable("The model is gone.")

    door = open_door(scripted_engine(broken), streaming=True)

    def answer(request: httpx2.Request) -> httpx2.Response:
        streamed = door.call("POST", path, json.loads(request.content))
        return httpx2.Response(streamed.status, headers=streamed.headers, text=streamed.body)

    transport = openai.DefaultHttpxClient(transport=httpx2.MockTransport(answer))
    with openai.OpenAI(base_url="http://door/v1", api_key="none", http_client=transport) as client:
        asked: Any = {"model": MODEL, "stream": True}
        stream = (
            client.responses.create(**asked, input="Hi")
            if path == "/v1/responses"
            else client.chat.completions.create(**asked, messages=HI)
        )
        with pytest.raises(openai.APIError, match=r"The model is gone\.") as raised:
            list(stream)
    assert raised.value.code == "unavailable"


def test_retry_is_told(open_door: OpenDoor) -> None:
    """503 before anything was written may be sent again, and says so."""

    def broken(_: str) -> str:
        raise Unavailable("The model is gone.")

    answer = open_door(scripted_engine(broken)).post("/v1/chat/completions", messages=HI)
    assert (answer.status, answer.headers["x-should-retry"]) == (503, "true")


class Racing(Wrapper):
    """A store in which somebody else writes between our read and our write, once, when `armed`."""

    armed = False

    def append(self, tenant: str, conversation: Conversation, *arguments: Any, **options: Any) -> Any:
        if self.armed:
            self.armed = False
            current = self.part.get(tenant, conversation.id)
            self.part.append(tenant, current, [])
        return self.part.append(tenant, conversation, *arguments, **options)


def test_the_loser_of_a_race_is_told(open_door: OpenDoor) -> None:
    """When somebody else writes to a named conversation first, the turn is a 409 that must not be
    repeated."""
    racing = Racing()
    door = open_door(wrap=racing.wrap)
    conversation = door.call("POST", "/v1/conversations", {}).json["id"]
    racing.armed = True
    answer = door.post("/v1/responses", input="Hi", conversation=conversation)
    assert (answer.status, answer.headers["x-should-retry"]) == (409, "false")
    assert answer.json["error"]["code"] == "version_conflict"
    assert door.call("GET", f"/v1/conversations/{conversation}/items").json["data"] == []


def test_two_answers_to_one_response_are_branches(open_door: OpenDoor) -> None:
    """When two go on from the same response at once, both have their turn."""
    racing = Racing()
    door = open_door(wrap=racing.wrap)
    first = door.post("/v1/responses", input="One").json["id"]
    racing.armed = True
    second = door.post("/v1/responses", input="Two", previous_response_id=first)
    assert second.status == 200
    third = door.post("/v1/responses", input="Three", previous_response_id=second.json["id"])
    assert third.json["usage"]["input_tokens"] > second.json["usage"]["input_tokens"]


class Forgetful(Wrapper):
    """A store that goes away while it is written to."""

    def append(self, *_: Any, **__: Any) -> Any:
        raise Unavailable("The session store does not answer.")


def test_a_turn_that_may_be_stored_is_not_repeated(open_door: OpenDoor) -> None:
    """When the store goes away in the middle of the write, the client is told not to try again blindly."""
    answer = open_door(wrap=Forgetful().wrap).post("/v1/responses", input="Hi")
    assert (answer.status, answer.headers["x-should-retry"]) == (503, "false")
    assert answer.json["error"]["code"] == "turn_state_unknown"


def test_a_client_that_leaves_is_heard(open_door: OpenDoor) -> None:
    """Closing a stream ends the generation at once and keeps what was said."""
    steps = []
    door = open_door(scripted_engine(lambda _: SAID * 20, on_step=lambda: steps.append(1)), streaming=True)
    conversation = door.call("POST", "/v1/conversations", {}).json["id"]
    event = rest_event(
        "POST",
        "/v1/responses",
        {"model": MODEL, "input": "Hi", "conversation": conversation, "stream": True},
    )
    stream = door.application.api.answer(event, None)
    assert not isinstance(stream, dict)
    heard = b""
    while b"output_text.delta" not in heard:
        heard += next(stream)
    before = len(steps)
    stream.close()
    assert len(steps) == before
    items = door.call("GET", f"/v1/conversations/{conversation}/items?order=asc").json["data"]
    assert [item["status"] for item in items] == ["completed", "incomplete"]
    text = items[1]["content"][0]["text"]
    assert text
    assert SAID.startswith(text)
    assert door.post("/v1/chat/completions", messages=HI).status == 200  # the model is free again


def test_a_long_chat_ends_whatever_is_penalized(open_door: OpenDoor) -> None:
    """The end of turn stands in the prompt once for every message; the answer is not punished for it."""
    said = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}] * 20
    door = open_door(scripted_engine(lambda _: "fox", context_tokens=2048))
    answer = door.post("/v1/chat/completions", messages=[*said, *HI], frequency_penalty=2.0, max_tokens=20)
    choice = answer.json["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("fox", "stop")


def test_a_client_that_leaves_a_lost_race_is_only_counted(
    open_door: OpenDoor, capsys: pytest.CaptureFixture[str]
) -> None:
    """Closing a stream whose conversation somebody else has written to raises nothing; theirs stays."""
    door = open_door(streaming=True, memory_mib=2048)
    conversation = door.call("POST", "/v1/conversations", {}).json["id"]
    reading = ask(door, input="Hi", conversation=conversation).until(deltas=1)
    items = f"/v1/conversations/{conversation}/items"
    assert door.call("POST", items, {"items": HI}).status == 200
    capsys.readouterr()
    reading.hang_up()
    assert '"Conflicts"' in capsys.readouterr().out
    assert len(door.call("GET", items).json["data"]) == 1


def test_openapi_lists_every_route(door: Door) -> None:
    """The document names the routes that there are, each with its answer and its errors."""
    document = door.call("GET", "/openapi.json").json
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]["/v1/conversations/{conversation_id}"]) == {"get", "post", "delete"}
    chat = document["paths"]["/v1/chat/completions"]["post"]
    assert set(chat["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    assert chat["requestBody"]["required"]
    assert "ErrorEnvelope" in json.dumps(chat["responses"]["400"])


def test_openapi_names_the_time_limit(door: Door) -> None:
    """Where an answer may take time, and nowhere else, the header that limits it is named."""
    document = door.call("GET", "/openapi.json").json
    timed = {
        path
        for path, calls in document["paths"].items()
        for call in calls.values()
        if any(parameter["name"] == "x-request-timeout-ms" for parameter in call.get("parameters", ()))
    }
    assert {"/v1/chat/completions", "/v1/responses", "/v1/conversations"} <= timed
    assert not timed & {"/", "/health", "/v1/models", "/openapi.json"}


def test_openapi_names_where_the_server_is(door: Door) -> None:
    """Below a REST API's stage, or at the root; and that a key is sent as a bearer token."""
    event = rest_event("GET", "/openapi.json")
    local = door.send(event).json
    event["requestContext"].update(stage="prod", path="/prod/openapi.json")
    staged = door.send(event).json
    url = recorded("function-url-chat-stream")
    url["rawPath"], url["requestContext"]["http"]["method"] = "/openapi.json", "GET"
    bases = [document["servers"] for document in (local, staged, door.send(url).json)]
    assert bases == [[{"url": "/"}], [{"url": "/prod"}], [{"url": "/"}]]
    ((name, scheme),) = local["components"]["securitySchemes"].items()
    assert (scheme["type"], scheme["scheme"], local["security"]) == ("http", "bearer", [{name: []}])
