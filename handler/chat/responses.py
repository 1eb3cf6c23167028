"""`/v1/responses`: a turn that is kept. Create, stream, read, delete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

from handler.chat.budget import Budget, Caller
from handler.chat.events import TurnEvents
from handler.chat.explanation import explanation_of
from handler.chat.inference import Inference
from handler.chat.logprobs import token_logprobs
from handler.chat.outcome import Outcome
from handler.chat.pages import items_page
from handler.chat.preparation import Preparation
from handler.chat.receipt import Till
from handler.chat.replay import Replays
from handler.chat.retries import Retries
from handler.chat.run import Run
from handler.chat.running import Running, RunningResponses
from handler.chat.terms import Terms
from handler.chat.thread import Threads
from handler.chat.translate import title_of
from handler.chat.turn import Turn
from handler.chat.written import written
from handler.engine.values import Piece
from handler.errors import NotFound, Unavailable, Uncertain
from handler.schema.chat_completions import TokenLogprob
from handler.schema.events import Event
from handler.schema.items import ItemList
from handler.schema.responses import ResponseDeleted, ResponseObject, ResponseRequest
from handler.sessions import Item, SessionStore


@dataclass(frozen=True)
class Responses:
    """The use case."""

    inference: Inference
    preparation: Preparation
    store: SessionStore
    threads: Threads
    retries: Retries
    running: RunningResponses
    replays: Replays
    till: Till
    now_s: Callable[[], float]

    def create(self, request: ResponseRequest, caller: Caller, terms: Terms) -> Outcome[ResponseObject]:
        """Answer whole. Raises: RequestError."""
        budget = self.inference.budget(caller)
        begun = self._begin(request, budget, terms)
        if isinstance(begun, str):
            return Outcome(self.retrieve(caller.tenant, begun), replayed=True)
        run = self.inference.run(begun.job, begun.budget)
        with self._known(begun) as running:
            for piece in run:
                self._take(begun, piece)
            for _ in self.inference.explain(run, begun.budget):
                pass
            running.body = body = self._commit(begun, run)
        return Outcome(body)

    def stream(
        self, request: ResponseRequest, caller: Caller, terms: Terms
    ) -> Outcome[Iterator[Event | None]]:
        """Answer event by event; a wrong request is refused before the first. A None is a sign of life.

        Raises: RequestError.
        """
        budget = self.inference.budget(caller)
        begun = self._begin(request, budget, terms)
        if isinstance(begun, str):
            return Outcome(self.replays.resume(budget, begun), replayed=True)
        return Outcome(self._events(begun))

    def retrieve(self, tenant: str, response_id: str) -> ResponseObject:
        """Read a response as it was given, or as it is under way in this process. Raises: NotFound."""
        running = self.running.find(tenant, response_id)  # first: at its end it goes from here to the store
        try:
            return ResponseObject.stored(self.store.response(tenant, response_id).body)
        except NotFound:
            if running is None:
                raise
            return running.beginning()

    def delete(self, tenant: str, response_id: str) -> ResponseDeleted:
        """Forget a response; its conversation keeps the items. Raises: NotFound."""
        self.store.delete_response(tenant, response_id)
        return ResponseDeleted(id=response_id)

    def input_items(
        self, tenant: str, response_id: str, limit: int, after: str | None, order: Literal["asc", "desc"]
    ) -> ItemList:
        """Page through what the client sent with a response. Raises: NotFound."""
        response = self.store.response(tenant, response_id)
        conversation = self.store.get(tenant, response.conversation_id)
        count = response.last_seq - response.first_seq + 1
        window = self.store.window(tenant, conversation, max_items=count, upto_seq=response.last_seq)
        output = {item["id"] for item in response.body["output"]}
        own = [item for item in window.items if item.seq >= response.first_seq and item.id not in output]
        ordered = own if order == "asc" else own[::-1]
        if after is not None:
            ids = [item.id for item in ordered]
            if after not in ids:
                raise NotFound(f"The response has no input item {after!r}.", param="after")
            ordered = ordered[ids.index(after) + 1 :]
        return items_page(ordered[:limit], has_more=len(ordered) > limit)

    def _begin(self, request: ResponseRequest, budget: Budget, terms: Terms) -> Turn | str:
        """Prepare a turn, or give the id of the response that an earlier attempt at this request has made."""
        if request.conversation_id is None:
            terms.refuse_if_match("without 'conversation', which is what has a version")
        if request.store is False:
            terms.refuse_key("with 'store': false, since nothing is kept that could be given again")
            return self.preparation.turn(request, budget, terms, None)
        attempt = self.retries.attempt(budget, "POST /v1/responses", request, terms)
        earlier = attempt.earlier(request.conversation_id)
        if earlier is not None:
            return earlier
        with attempt.under_way():
            return self.preparation.turn(request, budget, terms, attempt)

    def _events(self, turn: Turn) -> Iterator[Event | None]:
        events = TurnEvents(turn)
        run = self.inference.run(turn.job, turn.budget)
        committed = False
        with self._known(turn) as running:
            try:
                yield from events.opening()
                for piece in run:
                    logprobs = self._take(turn, piece)
                    yield from events.grown(piece, logprobs)
                    if piece.is_sign_of_life:
                        yield None
                yield from self.inference.explain(run, turn.budget)
                committed = True  # tried: a failed write must not be tried again on the way out
                running.body = body = self._commit(turn, run)
                yield from events.closing(body)
            except GeneratorExit:  # the client hung up: keep what was said
                run.close()
                if not committed:
                    for piece in run.untold:
                        self._take(turn, piece)
                    running.body = self._commit(turn, run)
                raise
            finally:
                run.close()

    @contextmanager
    def _known(self, turn: Turn) -> Iterator[Running]:
        """Let a turn be found while it is under way: by who sends it again, and by who wants to cancel it."""
        running = Running(turn.response_id, turn.budget, turn.beginning)
        is_stored = turn.request.store is not False
        entered = self.running.entered(turn.tenant, running, is_stored=is_stored)
        with turn.under_way(), entered:
            yield running

    def _take(self, turn: Turn, piece: Piece) -> list[TokenLogprob]:
        wanted = turn.job.top_logprobs is not None and piece.kind == "text"
        logprobs = token_logprobs([piece], self.inference.engine) if wanted else []
        turn.take(piece, logprobs)
        return logprobs

    def _commit(self, turn: Turn, run: Run) -> ResponseObject:
        body = turn.ending(run, int(self.now_s()))
        body.dormouse = self.till.facts([run], turn.budget, turn.dropped_items)
        body.dormouse.explanation = explanation_of(self.inference.engine, run, stored=True)
        if turn.cut is None:
            body.dormouse.dropped_older = turn.thread.older_left_out or turn.thread.incomplete
        elif turn.cut.dormouse is not None:
            body.dormouse.dropped_older = turn.cut.dormouse.dropped_older
        if turn.request.store is False:
            self.inference.handed_over(run, turn.budget)
            return body
        items, usage, claim = turn.items_to_store(run), turn.usage(run), turn.claim()
        append = partial(self.threads.append, turn.tenant, turn.thread, items, usage=usage, claim=claim)
        try:
            stored = written(append, turn.record(body))
        except Unavailable as error:
            if turn.attempt is not None and turn.attempt.keyed:
                raise  # sent again with its key it is carried out once, whatever became of this write
            raise Uncertain("The store went away while the turn was being written.") from error
        if turn.thread.named and not stored.title:
            self._name(turn, stored.id, items)
        self.inference.handed_over(run, turn.budget)
        return body

    def _name(self, turn: Turn, conversation_id: str, items: list[Item]) -> None:
        """Give the conversation a title; the turn is safe already, so failing to is nobody's problem."""
        try:
            self.store.update(turn.tenant, conversation_id, title=title_of(items) or "…")
        except (Unavailable, NotFound):
            return
