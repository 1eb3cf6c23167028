"""The runtime streams, tells of errors, stops when nobody reads, and leaves buffered answers alone."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handler.runtime import STREAMED_ROUTES
from tests.contract.runtime.conftest import Environment

Start = Callable[..., Environment]
STREAMED = {"httpMethod": "POST", "resource": "/v1/chat/completions", "requestContext": {"stage": "v1"}}
BUFFERED = {"httpMethod": "GET", "resource": "/{proxy+}", "requestContext": {"stage": "v1"}}


def test_chunks_leave_as_they_are_made(start: Start, tmp_path: Path) -> None:
    """Each chunk reaches the Runtime API before the function makes the next one."""
    gate = tmp_path / "gate"
    gate.mkdir()
    under_way = start().api.start({"do": "gated", "chunks": 5, "gate": str(gate)})
    under_way.wait_for(chunks=1)
    for number in range(5):
        assert len(under_way.chunks) == number + 1
        (gate / str(number)).touch()
        under_way.wait_for(chunks=number + 2)
    answer = under_way.wait_for()
    assert answer.kind == "streamed"
    assert answer.prelude == {"statusCode": 200, "headers": {"Content-Type": "text/event-stream"}}
    assert answer.payload == b"chunk 0chunk 1chunk 2chunk 3chunk 4"
    assert answer.trailers == {}


def test_an_error_in_mid_stream_is_a_trailer(start: Start) -> None:
    """What was sent stays sent, the trailers name the error, and the next invocation is served."""
    api = start().api
    broken = api.invoke({"do": "count", "chunks": 3, "error": "the pen broke"})
    assert broken.payload == b"000000000000000100000002"
    assert broken.trailers["lambda-runtime-function-error-type"] == "ValueError"
    assert broken.broke_off_with["errorMessage"] == "the pen broke"
    assert api.invoke({"do": "count", "chunks": 1}).payload == b"00000000"


def test_an_error_before_the_first_chunk_is_an_invocation_error(start: Start) -> None:
    """Nothing has been promised yet, so the caller gets a plain error and not a broken stream."""
    answer = start().api.invoke({"do": "early"})
    assert answer.kind == "error"
    assert json.loads(answer.body)["errorType"] == "LookupError"


def test_a_chunk_of_the_wrong_type_breaks_off(start: Start) -> None:
    """A function that yields text is a bug that is reported, and not the end of the environment."""
    api = start().api
    answer = api.invoke({"do": "text"})
    assert answer.broke_off_with["errorType"] == "TypeError"
    assert api.invoke({"do": "count", "chunks": 1}).kind == "streamed"


def test_a_client_that_hangs_up_stops_the_function(start: Start, tmp_path: Path) -> None:
    """An endless answer is closed once nobody reads it, and the environment serves on."""
    api = start().api
    closed = tmp_path / "closed"
    assert api.invoke({"do": "endless", "closed": str(closed)}, hang_up_after=3).kind == "cut"
    assert api.invoke({"do": "count", "chunks": 1}).kind == "streamed"
    assert closed.read_text() == "closed"


def test_large_chunks_arrive_whole(start: Start) -> None:
    """Chunks larger than any buffer on the way arrive in order."""
    answer = start().api.invoke({"do": "count", "chunks": 40, "size": 1 << 18})
    assert len(answer.payload) == 40 << 18
    assert answer.payload == b"".join(f"{number:08d}".encode() * (1 << 15) for number in range(40))


@pytest.mark.parametrize("status", [400, 413])
def test_a_refused_answer_does_not_end_the_environment(start: Start, status: int) -> None:
    """A stream that the platform refuses is logged, and the next invocation is served."""
    environment = start()
    environment.api.invoke({"do": "count", "chunks": 1}, reply_status=status)
    assert environment.api.invoke({"do": "count", "chunks": 1}).kind == "streamed"
    assert f"refused the answer with {status}" in environment.log.read_text()


@pytest.mark.parametrize(
    "asked", [{"do": "count", "chunks": 1}, {"do": "proxy", "answer": 1}, {"do": "raise"}]
)
def test_the_environment_ends_when_the_platform_says_so(start: Start, asked: dict[str, Any]) -> None:
    """Status 500 means a state beyond repair: the runtime has to exit promptly, whatever it answered."""
    environment = start()
    environment.api.invoke(asked, reply_status=500)
    assert environment.process.wait(timeout=60) != 0


def test_buffered_answers_are_left_alone(start: Start) -> None:
    """An event from a buffered route, or from nowhere, gets JSON as the managed runtime writes it."""
    api = start().api
    proxy = {"statusCode": 404, "headers": {"a": "b"}, "body": "{}"}
    answer = api.invoke({**BUFFERED, "do": "proxy", "answer": proxy})
    assert (answer.kind, json.loads(answer.body)) == ("buffered", proxy)
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(api.invoke({"do": "proxy", "answer": [1, "é", None]}).body) == [1, "é", None]
    failed = api.invoke({"do": "raise"})
    assert (failed.kind, json.loads(failed.body)["errorMessage"]) == ("error", "raised by the script")


@pytest.mark.parametrize("route", sorted(STREAMED_ROUTES))
def test_a_whole_answer_on_a_streamed_route_gets_a_prelude(start: Start, route: tuple[str, str]) -> None:
    """API Gateway reads prelude and delimiter on such a route, whatever the function has answered."""
    proxy = {
        "statusCode": 400,
        "multiValueHeaders": {"Content-Type": ["application/json"]},
        "body": '{"é": 1}',
    }
    event = {**STREAMED, "httpMethod": route[0], "resource": route[1], "do": "proxy", "answer": proxy}
    answer = start().api.invoke(event)
    assert answer.kind == "streamed"
    assert answer.prelude == {"statusCode": 400, "multiValueHeaders": {"Content-Type": ["application/json"]}}
    assert answer.payload == '{"é": 1}'.encode()


def test_a_whole_answer_through_a_function_url_gets_a_prelude(start: Start) -> None:
    """The second door streams every answer; bytes in base64 are decoded on the way."""
    proxy = {"statusCode": 200, "body": base64.b64encode(b"\0\xff").decode(), "isBase64Encoded": True}
    context = {"http": {"method": "GET", "path": "/"}, "domainName": "q7.lambda-url.us-east-1.on.aws"}
    answer = start().api.invoke({"requestContext": context, "do": "proxy", "answer": proxy})
    assert (answer.kind, answer.prelude, answer.payload) == ("streamed", {"statusCode": 200}, b"\0\xff")


HTTP_API = {"http": {"method": "POST", "path": "/"}, "domainName": "a1.execute-api.us-east-1.amazonaws.com"}


@pytest.mark.parametrize(
    "event", [{"version": "2.0", "requestContext": HTTP_API}, {"version": "1.0", **STREAMED}]
)
def test_an_http_api_gets_whole_answers(start: Start, event: dict[str, Any]) -> None:
    """It invokes no response stream, by neither payload: a prelude would be no proxy answer."""
    answer = start().api.invoke({**event, "do": "count", "chunks": 2})
    assert answer.kind == "buffered"
    assert json.loads(answer.body)["body"] == "0000000000000001"


def test_a_stream_for_a_buffered_route_is_joined(start: Start) -> None:
    """A path with a slash too many comes in by a buffered route, which reads a proxy answer only."""
    answer = start().api.invoke({**BUFFERED, "httpMethod": "POST", "do": "count", "chunks": 2})
    assert answer.kind == "buffered"
    assert json.loads(answer.body) == {
        "statusCode": 200,
        "headers": {"Content-Type": "text/event-stream"},
        "body": "0000000000000001",
        "isBase64Encoded": False,
    }
