"""`/v1/responses`: create, read, tell again, cancel, delete, count, page through the input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Query

from handler.chat.budget import Caller
from handler.chat.cancel import Cancellation
from handler.chat.ledger import Ledger
from handler.chat.preparation import Preparation
from handler.chat.replay import BEFORE_THE_FIRST, Replays
from handler.chat.responses import Responses
from handler.errors import InvalidRequest, Unsupported
from handler.routes.answers import Headed, Stream, headed, server_sent
from handler.routes.headers import IdempotencyKey, IfMatchHeader, terms
from handler.routes.metered import metered
from handler.routes.table import (
    After,
    CurrentCaller,
    Endpoint,
    Included,
    IncludedInBrackets,
    Limit,
    Order,
    later,
)
from handler.schema.events import DONE, ErrorEvent, Event, response_event
from handler.schema.items import ItemList
from handler.schema.responses import (
    InputTokens,
    InputTokensRequest,
    ResponseDeleted,
    ResponseObject,
    ResponseRequest,
)
from handler.schema.service import ErrorFacts
from handler.telemetry import Telemetry

StartingAfter = Annotated[int | None, Query(ge=0)]


class ResponseRoutes:
    """The half of the API that remembers."""

    def __init__(
        self,
        responses: Responses,
        preparation: Preparation,
        replays: Replays,
        cancellation: Cancellation,
        telemetry: Telemetry,
        ledger: Ledger,
    ) -> None:
        self._responses, self._preparation = responses, preparation
        self._replays, self._cancellation = replays, cancellation
        self._telemetry, self._ledger = telemetry, ledger

    def endpoints(self) -> list[Endpoint]:
        """The routes, as data; a name comes before a path that takes any name."""
        root, one, tag = "/v1/responses", "/v1/responses/<response_id>", "Responses"
        whole = ResponseObject
        return [
            Endpoint("POST", root, self.create_response, "Take a turn", tag, whole, streams=True),
            Endpoint(
                "POST", f"{root}/input_tokens", self.count_input_tokens, "Count the prompt", tag, InputTokens
            ),
            Endpoint("GET", one, self.retrieve_response, "Read a response", tag, whole, streams=True),
            Endpoint("DELETE", one, self.delete_response, "Forget a response", tag, ResponseDeleted),
            Endpoint("POST", f"{one}/cancel", self.cancel_response, "End a response", tag, whole),
            Endpoint(
                "GET", f"{one}/input_items", self.list_input_items, "Page through the input", tag, ItemList
            ),
        ]

    def create_response(
        self,
        caller: CurrentCaller,
        body: ResponseRequest,
        idempotency_key: IdempotencyKey = None,
        if_match: IfMatchHeader = None,
    ) -> Response[Any]:
        """Whole or as events."""
        asked = terms(idempotency_key, if_match)

        def work(caller: Caller) -> Headed:
            if body.stream:
                streamed = self._responses.stream(body, caller, asked)
                return headed(streamed, self._sse(streamed.value, caller))
            whole = self._responses.create(body, caller, asked)
            return headed(whole, whole.value)

        return later(lambda: metered(self._ledger, caller, work))

    def count_input_tokens(self, caller: CurrentCaller, body: InputTokensRequest) -> Response[Any]:
        """What the same request would have for a prompt, by the template's own count."""
        return later(lambda: self._preparation.count(body, caller))

    def retrieve_response(
        self,
        caller: CurrentCaller,
        response_id: str,
        stream: bool | None = None,
        starting_after: StartingAfter = None,
        include_obfuscation: bool | None = None,
        _include: Included = None,
        _include_in_brackets: IncludedInBrackets = None,
    ) -> Response[Any]:
        """As it was given, log-probabilities too: whole, or its events again, and on from where it broke."""
        if include_obfuscation:
            raise Unsupported(
                "'include_obfuscation' is not supported by this server; only false is accepted.",
                param="include_obfuscation",
            )
        if not stream:
            if starting_after is not None:
                raise InvalidRequest(
                    "'starting_after' is only allowed when 'stream' is true.", param="starting_after"
                )
            return later(lambda: self._responses.retrieve(caller.tenant, response_id))
        after = BEFORE_THE_FIRST if starting_after is None else starting_after

        def work(caller: Caller) -> Stream:
            return self._sse(self._replays.stream(caller, response_id, after), caller, after)

        return later(lambda: metered(self._ledger, caller, work))

    def cancel_response(self, caller: CurrentCaller, response_id: str) -> Response[Any]:
        """Within a token or two, wherever it is made."""
        return later(lambda: self._cancellation.cancel(caller, response_id))

    def delete_response(self, caller: CurrentCaller, response_id: str) -> Response[Any]:
        """The record goes, the conversation's items stay."""
        return later(lambda: self._responses.delete(caller.tenant, response_id))

    def list_input_items(
        self,
        caller: CurrentCaller,
        response_id: str,
        limit: Limit = 20,
        after: After = None,
        order: Order = "desc",
        _include: Included = None,
        _include_in_brackets: IncludedInBrackets = None,
    ) -> Response[Any]:
        """What the client sent with it, which has no log-probabilities."""
        return later(lambda: self._responses.input_items(caller.tenant, response_id, limit, after, order))

    def _sse(self, events: Iterator[Event | None], caller: Caller, last: int = BEFORE_THE_FIRST) -> Stream:
        def frame(event: Event) -> bytes:
            nonlocal last
            last = event.sequence_number
            return response_event(event)

        def frame_error(error: Exception) -> bytes:
            known = self._telemetry.as_request_error(error, caller.request_id)
            facts = ErrorFacts(**known.envelope()["error"])
            return response_event(
                ErrorEvent(
                    sequence_number=last + 1,
                    code=facts.code,
                    message=facts.message,
                    param=facts.param,
                    error=facts,
                )
            )

        return server_sent(events, frame, frame_error, DONE)
