"""`/v1/responses`: create, read, delete, page through the input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aws_lambda_powertools.event_handler import Response

from handler.chat.budget import Caller
from handler.chat.ledger import Ledger
from handler.chat.responses import Responses
from handler.routes.answers import Headed, Stream, headed, server_sent
from handler.routes.headers import IdempotencyKey, IfMatchHeader, terms
from handler.routes.metered import metered
from handler.routes.table import After, CurrentCaller, Endpoint, Limit, Order, later
from handler.schema.events import DONE, ErrorEvent, Event, response_event
from handler.schema.items import ItemList
from handler.schema.responses import ResponseDeleted, ResponseObject, ResponseRequest
from handler.telemetry import Telemetry


class ResponseRoutes:
    """The half of the API that remembers."""

    def __init__(self, responses: Responses, telemetry: Telemetry, ledger: Ledger) -> None:
        self._responses, self._telemetry, self._ledger = responses, telemetry, ledger

    def endpoints(self) -> list[Endpoint]:
        """The routes, as data."""
        root, one, tag = "/v1/responses", "/v1/responses/<response_id>", "Responses"
        return [
            Endpoint("POST", root, self.create_response, "Take a turn", tag, ResponseObject, streams=True),
            Endpoint("GET", one, self.retrieve_response, "Read a response", tag, ResponseObject),
            Endpoint("DELETE", one, self.delete_response, "Forget a response", tag, ResponseDeleted),
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

    def retrieve_response(self, caller: CurrentCaller, response_id: str) -> Response[Any]:
        """As it was given."""
        return later(lambda: self._responses.retrieve(caller.tenant, response_id))

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
    ) -> Response[Any]:
        """What the client sent with it."""
        return later(lambda: self._responses.input_items(caller.tenant, response_id, limit, after, order))

    def _sse(self, events: Iterator[Event], caller: Caller) -> Stream:
        last = -1

        def frame(event: Event) -> bytes:
            nonlocal last
            last = event.sequence_number
            return response_event(event)

        def frame_error(error: Exception) -> bytes:
            known = self._telemetry.as_request_error(error, caller.request_id)
            return response_event(
                ErrorEvent(
                    sequence_number=last + 1, code=known.error_code, message=known.message, param=known.param
                )
            )

        return server_sent(events, frame, frame_error, DONE)
