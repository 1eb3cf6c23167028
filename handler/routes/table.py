"""A route as data: method, path, function, and what the OpenAPI document says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Literal

from aws_lambda_powertools.event_handler import Depends, Request, Response
from aws_lambda_powertools.event_handler.openapi.params import Query

from handler.chat.budget import Caller
from handler.routes.answers import Work
from handler.routes.headers import TimeLimit
from handler.schema.items import Includable
from handler.schema.service import ErrorEnvelope

try:
    VERSION = version("dormouse")
except PackageNotFoundError:  # run from its folder, not installed
    VERSION = "0.1.0"

ERRORS = {
    400: "The request is wrong; `param` names the field.",
    401: "No key, or one that is not valid.",
    403: "A web page of another site asks a server that asks this machine for no keys.",
    404: "There is no such thing.",
    405: "The path takes other methods.",
    409: (
        "Somebody else wrote first (`error.dormouse.current_version` and `ETag` say where it is now); or an "
        "earlier attempt at this request is still under way; or its idempotency key was another request's."
    ),
    412: "The conversation is not at the version that `If-Match` names; body and `ETag` as of a lost race.",
    413: "The body is over the limit.",
    415: "The body is not JSON.",
    429: "The allowance is spent.",
    500: "A bug; it has been logged under the request id.",
    503: (
        "The model is busy, the server is about to end, or something behind it does not answer; "
        "`x-should-retry` says whether to send the request again."
    ),
}


def _current(request: Request, _time_limit: TimeLimit = None) -> Caller:
    caller: Caller = request.context["caller"]
    return caller


CurrentCaller = Annotated[Caller, Depends(_current)]
Limit = Annotated[int, Query(ge=1, le=100)]
After = Annotated[str | None, Query(max_length=256)]
Order = Annotated[Literal["asc", "desc"], Query()]
Included = Annotated[Includable | None, Query(alias="include")]
IncludedInBrackets = Annotated[Includable | None, Query(alias="include[]")]
"""As OpenAI's clients write it."""


@dataclass(frozen=True)
class Endpoint:
    """One route; `answer` is what it gives: a pydantic model, or another class for what is no JSON."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    function: Callable[..., Response[Any]]
    summary: str
    tag: str
    answer: type
    streams: bool = False
    media: str = "application/json"

    @property
    def operation_id(self) -> str:
        """The name that generated clients give the call."""
        return str(getattr(self.function, "__name__", "call")).strip("_")


def later(work: Work) -> Response[Any]:
    """Hand a route's work over, to be done outside the resolver."""
    return Response(200, body=work)


def document_responses(endpoint: Endpoint) -> dict[int, Any]:
    """Describe every status a route can have."""
    from pydantic import BaseModel

    content: dict[str, Any] = {endpoint.media: {"schema": {}}}
    if issubclass(endpoint.answer, BaseModel):
        content = {endpoint.media: {"model": endpoint.answer}}
    if endpoint.streams:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    errors = {
        status: {"description": text, "content": {"application/json": {"model": ErrorEnvelope}}}
        for status, text in ERRORS.items()
    }
    return {200: {"description": endpoint.summary, "content": content}, **errors}
