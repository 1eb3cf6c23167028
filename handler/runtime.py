"""The Lambda Runtime API's streamed answers, taught to the managed runtime's own client (awslambdaric).

Started by `runtime.sh` in place of the runtime, with the arguments the runtime was to be started with. It
extends two classes of awslambdaric, then runs the runtime as it is: its loop, logs and SnapStart hooks stay.
Where awslambdaric is not as expected, nothing is touched: answers are buffered, with one line in the log.

Knows nothing of models, conversations or OpenAI: an answer is a dictionary or a generator of bytes. How a
stream is posted is `runtime_stream`'s.

Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html#runtimes-custom-response-streaming
"""

from __future__ import annotations

import base64
import gc
import inspect
import json
import logging
import os
import runpy
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from handler.runtime_stream import (
    BUFFERED_LIMIT_BYTES,
    JOINED,
    PRELUDE_END,
    STREAM_TYPE,
    AnswerTooLarge,
    Asked,
    Stream,
    post_stream,
)

# The routes that template.yaml lets API Gateway invoke with a response stream. A test keeps the two equal.
STREAMED_ROUTES = frozenset(
    {
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/responses"),
        ("GET", "/v1/responses/{response_id}"),
    }
)

FUNCTION_URL = ".lambda-url."
"""In the domain names of all. Source: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html"""

POLL_PAUSES_S = (0.1, 0.2)

log = logging.getLogger("handler.runtime")  # this file runs as __main__


def answer_form(event: Any) -> Literal["stream", "whole"] | None:
    """Which form of answer the caller can read: with a prelude, as a proxy answer, or (None) whatever comes.

    An HTTP API, whose events name their version as a REST API's do not, reads whole answers only.
    Source: https://docs.aws.amazon.com/apigateway/latest/developerguide/response-transfer-mode-lambda.html
    """
    if not isinstance(event, Mapping):
        return None
    context = event.get("requestContext") or {}
    if "http" in context:  # template.yaml gives a Function URL InvokeMode RESPONSE_STREAM
        return "stream" if FUNCTION_URL in str(context.get("domainName")) else "whole"
    if not {"httpMethod", "resource"} <= event.keys():
        return None
    is_streamed = "version" not in event and (event["httpMethod"], event["resource"]) in STREAMED_ROUTES
    return "stream" if is_streamed else "whole"


def framed(answer: Mapping[str, Any]) -> Generator[bytes, None, None]:
    """A whole proxy answer in the shape of a streamed one: prelude, then body."""
    parts = ("statusCode", "headers", "multiValueHeaders", "cookies")
    prelude = {name: answer[name] for name in parts if answer.get(name)}
    yield json.dumps(prelude).encode() + PRELUDE_END
    body = answer.get("body") or ""
    yield base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode()


def joined(stream: Generator[bytes, None, None]) -> dict[str, Any]:
    """A streamed answer as a proxy answer, for a streamed path that came in by a buffered route (`.../`)."""
    prelude, _, body = b"".join(stream).partition(PRELUDE_END)
    return {**json.loads(prelude), "body": body.decode(), "isBase64Encoded": False}


def sized(answer: str | bytes, content_type: str) -> tuple[bytes, str]:
    """A whole answer in bytes. One that Lambda would refuse would end the runtime, so it is an error here.

    Raises: AnswerTooLarge, and UnicodeEncodeError for text that is none.
    """
    data = answer if isinstance(answer, bytes) else answer.encode()
    if len(data) > BUFFERED_LIMIT_BYTES:
        raise AnswerTooLarge(f"{len(data)} bytes; an answer has at most {BUFFERED_LIMIT_BYTES}")
    return data, content_type


def streaming_marshaller(base: type) -> type:
    """The marshaller that lets generators through and gives each answer the form that is read."""

    class StreamingMarshaller(base):  # type: ignore[misc]
        """One invocation at a time, so what the event asked for may be kept between the two calls."""

        form: Literal["stream", "whole"] | None = None

        def unmarshal_request(self, request: Any, content_type: str = "application/json") -> Any:
            event = super().unmarshal_request(request, content_type)
            self.form = answer_form(event)
            return {**event, JOINED: True} if self.form == "whole" else event

        def marshal_response(self, response: Any) -> Any:
            if self.form == "stream" and isinstance(response, Mapping) and "statusCode" in response:
                response = framed(response)
            if self.form == "whole" and isinstance(response, Generator):
                response = joined(response)
            if not isinstance(response, Generator):
                return sized(*super().marshal_response(response))
            # An error before the first chunk is raised here, where the runtime reports it as any other.
            return Stream(next(response, b""), response), STREAM_TYPE

    return StreamingMarshaller


def polled(poll: Callable[[], Any]) -> Any:
    """Ask for the next event, which has not been given out while the asking fails; after a pause, again.

    Raises: what the last attempt raises; then this environment is given up.
    """
    for pause_s in POLL_PAUSES_S:
        try:
            return poll()
        except Exception as error:
            log.warning("the next event could not be asked for (%s)", type(error).__name__)
            time.sleep(pause_s)
    return poll()


def streaming_client(base: type, marshaller: type) -> type:
    """The Runtime API client class that posts streams as streams and everything else as before."""

    class StreamingClient(base):  # type: ignore[misc]
        """What the runtime's loop gets in place of its own client; one invocation at a time."""

        until_s = 0.0
        has_failed = False

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.marshaller = marshaller()

        def wait_next_invocation(self) -> Any:
            if self.has_failed:
                # The loop's frame and its error hold each other, and with them the answer that was too large.
                gc.collect()
                self.has_failed = False
            request = polled(super().wait_next_invocation)
            self.until_s = int(request.deadline_time_in_ms) / 1000
            return request

        def post_invocation_error(self, *args: Any) -> None:
            self.has_failed = True
            super().post_invocation_error(*args)

        def post_invocation_result(
            self, invoke_id: str, result_data: Any, content_type: str = "application/json", *more: Any
        ) -> None:
            if isinstance(result_data, Stream):
                asked = Asked(invoke_id, more[0] if more else None, self.until_s)
                post_stream(self.lambda_runtime_address, asked, result_data)
            else:
                super().post_invocation_result(invoke_id, result_data, content_type, *more)

    return StreamingClient


def teach_streaming() -> str | None:
    """Extend awslambdaric's client; answers why not, where it is not as we know it."""
    if "AWS_LAMBDA_MAX_CONCURRENCY" in os.environ:
        return "this environment serves several invocations at once"
    try:
        from awslambdaric import lambda_runtime_client as module

        base = module.LambdaRuntimeClient
        expected = ["self", "invoke_id", "result_data", "content_type"]
        if list(inspect.signature(base.post_invocation_result).parameters)[:4] != expected:
            return "post_invocation_result has another signature"
        if list(inspect.signature(base.marshaller.marshal_response).parameters) != ["response"]:
            return "marshal_response has another signature"
        module.LambdaRuntimeClient = streaming_client(base, streaming_marshaller(type(base.marshaller)))
    except (ImportError, AttributeError) as error:
        return str(error)
    if "awslambdaric.bootstrap" in sys.modules:
        return "the runtime was loaded before it could be extended"
    return None


def run_as_python_would(arguments: Sequence[str]) -> None:
    """Run `SCRIPT ...` or `-m MODULE ...` in this process, as the interpreter does with these arguments."""
    if arguments[0] == "-m":
        sys.argv = list(arguments[1:])
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(arguments)
        runpy.run_path(arguments[0], run_name="__main__")


def main(arguments: Sequence[str]) -> None:
    """Start the runtime that `arguments` name, with streaming where that is possible."""
    is_script = bool(arguments) and not arguments[0].startswith("-")
    is_module = len(arguments) > 1 and arguments[0] == "-m"
    if is_script:
        sys.path[0] = str(Path(arguments[0]).resolve().parent)  # where the runtime keeps awslambdaric
    problem = teach_streaming() if is_script or is_module else f"the runtime is started by {arguments}"
    if problem:
        print(f"dormouse: answers are buffered, not streamed: {problem}", file=sys.stderr, flush=True)
        os.execv(sys.executable, [sys.executable, *arguments])
    os.environ["DORMOUSE_STREAMING"] = "1"  # read when the handler is imported, which is later
    run_as_python_would(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
