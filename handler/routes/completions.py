"""`/v1/chat/completions`, `/v1/completions`: stateless, streamed or not."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.event_handler import Response

from handler.chat.budget import Caller
from handler.chat.choices import A, C, Q, Stateless
from handler.chat.completions import Completions
from handler.chat.ledger import Ledger
from handler.chat.text_completions import TextCompletions
from handler.routes.answers import Stream, server_sent
from handler.routes.metered import metered
from handler.routes.table import CurrentCaller, Endpoint, later
from handler.schema.chat_completions import ChatCompletion, ChatCompletionRequest
from handler.schema.completions import Completion, CompletionRequest
from handler.schema.events import DONE, data_event
from handler.telemetry import Telemetry


class CompletionRoutes:
    """The stateless half of the API."""

    def __init__(
        self, chat: Completions, text: TextCompletions, telemetry: Telemetry, ledger: Ledger
    ) -> None:
        self._chat, self._text, self._telemetry, self._ledger = chat, text, telemetry, ledger

    def endpoints(self) -> list[Endpoint]:
        """The routes, as data."""
        return [
            Endpoint(
                "POST",
                "/v1/chat/completions",
                self.create_chat_completion,
                "Answer a list of messages",
                "Chat",
                ChatCompletion,
                streams=True,
            ),
            Endpoint(
                "POST",
                "/v1/completions",
                self.create_completion,
                "Go on with a text",
                "Chat",
                Completion,
                streams=True,
            ),
        ]

    def create_chat_completion(self, caller: CurrentCaller, body: ChatCompletionRequest) -> Response[Any]:
        """Whole or as chunks."""
        return self._answered(self._chat, body, caller)

    def create_completion(self, caller: CurrentCaller, body: CompletionRequest) -> Response[Any]:
        """Whole or as chunks."""
        return self._answered(self._text, body, caller)

    def _answered(self, use_case: Stateless[Q, A, C], body: Q, caller: Caller) -> Response[Any]:
        def work(caller: Caller) -> A | Stream:
            if body.stream:
                return self._sse(use_case.stream(body, caller), caller.request_id)
            return use_case.answer(body, caller)

        return later(lambda: metered(self._ledger, caller, work))

    def _sse(self, chunks: Any, request_id: str) -> Stream:
        def frame_error(error: Exception) -> bytes:
            return data_event(self._telemetry.as_request_error(error, request_id).envelope())

        return server_sent(chunks, data_event, frame_error, DONE)
