"""`/v1/responses`: a turn that is kept. Create, stream, read, delete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from handler.chat.budget import Caller
from handler.chat.calls import check_results
from handler.chat.events import TurnEvents
from handler.chat.fit import fit
from handler.chat.formats import check_grammar, grammar_of, text_facts
from handler.chat.inference import Inference, Job, Run
from handler.chat.logprobs import token_logprobs
from handler.chat.messages import Message
from handler.chat.receipt import Till
from handler.chat.sampling import check_model, params_of, stop_strings
from handler.chat.spoken import resumed, take
from handler.chat.thread import Thread, Threads
from handler.chat.tools import ToolFacts, toolbox_of
from handler.chat.translate import item_of, new_id, shown, title_of
from handler.chat.turn import Turn, continued_job, history
from handler.engine.values import Piece
from handler.errors import InvalidRequest, NotFound, Unavailable, Uncertain
from handler.schema.chat_completions import TokenLogprob
from handler.schema.events import Event
from handler.schema.formats import TextFacts
from handler.schema.items import ItemList, item_list
from handler.schema.responses import ResponseDeleted, ResponseObject, ResponseRequest
from handler.schema.tools import choice_of
from handler.sessions import Item, SessionStore


@dataclass(frozen=True)
class Responses:
    """The use case."""

    inference: Inference
    store: SessionStore
    threads: Threads
    till: Till
    fingerprint: str
    now_s: Callable[[], float]

    def create(self, request: ResponseRequest, caller: Caller) -> ResponseObject:
        """Answer whole. Raises: RequestError."""
        turn = self._prepare(request, caller)
        run = self.inference.run(turn.job, turn.budget)
        for piece in run:
            self._take(turn, piece)
        return self._commit(turn, run)

    def stream(self, request: ResponseRequest, caller: Caller) -> Iterator[Event]:
        """Answer event by event; a wrong request is refused before the first. Raises: RequestError."""
        return self._events(self._prepare(request, caller))

    def retrieve(self, tenant: str, response_id: str) -> ResponseObject:
        """Read a response as it was given. Raises: NotFound."""
        return ResponseObject.model_validate(self.store.response(tenant, response_id).body)

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
        return item_list([shown(item) for item in ordered[:limit]], has_more=len(ordered) > limit)

    def _events(self, turn: Turn) -> Iterator[Event]:
        events = TurnEvents(turn)
        run = self.inference.run(turn.job, turn.budget)
        committed = False
        try:
            yield from events.opening()
            for piece in run:
                logprobs = self._take(turn, piece)
                yield from events.grown(piece, logprobs)
            committed = True  # tried: a failed write must not be tried again on the way out
            body = self._commit(turn, run)
            yield from events.closing(body)
        except GeneratorExit:  # the client hung up: keep what was said
            run.close()
            if not committed:
                self._commit(turn, run)
            raise
        finally:
            run.close()

    def _take(self, turn: Turn, piece: Piece) -> list[TokenLogprob]:
        wanted = turn.job.top_logprobs is not None and piece.kind == "text"
        logprobs = token_logprobs([piece], self.inference.engine) if wanted else []
        take(turn.spoken, piece, logprobs)
        return logprobs

    def _prepare(self, request: ResponseRequest, caller: Caller) -> Turn:
        budget = self.inference.budget(caller.limit_s)
        engine = self.inference.engine
        check_model(engine.manifest, request.model)
        now = int(self.now_s())
        thread = self.threads.open(caller.tenant, request, now)
        response_id = new_id("resp")
        new_items = [item_of(given, now, response_id) for given in request.items]
        dropped: list[str] = []
        unfinished = None
        tools, text = ToolFacts.of(request), text_facts(request.text)
        if any(item.type != "message" or item.content[0]["text"] for item in new_items) or len(new_items) > 1:
            job, dropped = self._new_job(request, thread, new_items)
        else:
            new_items = []
            job, unfinished, tools, text = self._continued_job(request, caller.tenant, thread)
        self.inference.check_time(len(job.prompt_ids), budget)
        return Turn(
            request=request,
            tenant=caller.tenant,
            model=engine.manifest.name,
            fingerprint=self.fingerprint,
            instruction_set=self.till.instruction_set,
            created_at_s=now,
            budget=budget,
            thread=thread,
            input_items=new_items,
            job=job,
            dropped_items=dropped,
            response_id=response_id,
            tools=tools,
            text_facts=text,
            continues=unfinished.id if unfinished else None,
            spoken=resumed(unfinished) if unfinished else [],
        )

    def _new_job(self, request: ResponseRequest, thread: Thread, new: list[Item]) -> tuple[Job, list[str]]:
        engine = self.inference.engine
        params = params_of(request, engine.manifest, seed=request.seed)
        wanted = request.text.format if request.text else None
        form = grammar_of(wanted)
        check_grammar(engine, wanted, form)
        toolbox = toolbox_of(
            engine,
            request.tools or (),
            choice_of(request.tool_choice),
            parallel=request.parallel_tool_calls,
            where="tools[{}]",
            form=form,
        )
        check_results(thread.items, new, "input")
        said = [Message("system", request.instructions)] if request.instructions else []
        messages = [*said, *history([*thread.items, *new])]
        fitted = fit(
            engine,
            messages,
            tools=toolbox.shown,
            truncate=request.truncation == "auto",
            older_left_out=thread.older_left_out,
        )
        wants_logprobs = request.top_logprobs is not None or bool(request.include)
        job = Job(
            fitted.prompt_ids,
            params,
            max_tokens=request.max_output_tokens,
            stop=stop_strings(request.stop),
            calls=toolbox.syntax,
            grammar=toolbox.grammar,
            top_logprobs=(request.top_logprobs or 0) if wants_logprobs else None,
            resumable=True,
        )
        return job, fitted.dropped_items

    def _continued_job(
        self, request: ResponseRequest, tenant: str, thread: Thread
    ) -> tuple[Job, Item, ToolFacts, TextFacts]:
        """An empty input goes on with an answer that was cut, with its tools and in its format."""
        if request.previous_response_id is not None:
            previous = self.store.response(tenant, request.previous_response_id)
            item = next((each for each in thread.items if each.id == previous.state.get("item_id")), None)
            if previous.status == "incomplete" and item is not None:
                body = ResponseObject.model_validate(previous.body)
                kept = ToolFacts(tuple(body.tools), body.tool_choice, body.parallel_tool_calls)
                syntax = self.inference.engine.prompt.call_syntax
                job = continued_job(previous, item, request, self.fingerprint, syntax)
                return job, item, kept.again(request), body.text
        raise InvalidRequest(
            "'input' is empty: that is only allowed to continue an incomplete response, named by "
            "'previous_response_id'.",
            param="input",
            code="missing_required_parameter",
        )

    def _commit(self, turn: Turn, run: Run) -> ResponseObject:
        body = turn.ending(run, int(self.now_s()))
        body.dormouse = self.till.facts([run], turn.budget, turn.dropped_items)
        if turn.request.store is False:
            return body
        items, record = turn.items_to_store(run), turn.record(body)
        try:
            stored = self.threads.append(turn.tenant, turn.thread, items, record, turn.usage(run))
        except Unavailable as error:
            raise Uncertain("The store went away while the turn was being written.") from error
        if turn.thread.named and not stored.title:
            self._name(turn, stored.id, items)
        return body

    def _name(self, turn: Turn, conversation_id: str, items: list[Item]) -> None:
        """Give the conversation a title; the turn is safe already, so failing to is nobody's problem."""
        try:
            self.store.update(turn.tenant, conversation_id, title=title_of(items) or "…")
        except (Unavailable, NotFound):
            return
