"""From a request to a turn that is ready to run: its place, its prompt, or what it goes on with.

Reads the store and writes nothing. Does not generate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from handler.chat.budget import Budget, Caller
from handler.chat.calls import check_results
from handler.chat.continuation import continued_job
from handler.chat.erasure import PROMPT, checked
from handler.chat.explanation import parts_of
from handler.chat.fit import Fitted, fit
from handler.chat.formats import grammar_of, text_facts
from handler.chat.inference import Inference
from handler.chat.messages import Message
from handler.chat.references import resolved
from handler.chat.retries import Attempt
from handler.chat.run import Job
from handler.chat.sampling import check_model, params_of, stop_strings
from handler.chat.terms import Terms
from handler.chat.thread import Thread, Threads
from handler.chat.tools import Toolbox, ToolFacts, toolbox_of
from handler.chat.translate import item_of, new_id
from handler.chat.turn import Turn, history
from handler.errors import Conflict, ContextOverflow, InvalidRequest, NotFound, Unsupported
from handler.schema.responses import (
    InputTokens,
    InputTokensRequest,
    ResponseInput,
    ResponseObject,
    ResponseRequest,
)
from handler.schema.tools import choice_of
from handler.sessions import Item, SessionStore, StoredResponse


@dataclass(frozen=True)
class Preparation:
    """Makes turns, and counts the prompts that they would have."""

    inference: Inference
    store: SessionStore
    threads: Threads
    fingerprint: str
    instruction_set: str
    now_s: Callable[[], float]

    def turn(self, request: ResponseRequest, budget: Budget, terms: Terms, attempt: Attempt | None) -> Turn:
        """Prepare a turn; an attempt is absent where nothing is stored.

        Raises: RequestError where the request cannot be carried out as it is, or not in time.
        """
        engine, tenant = self.inference.engine, budget.caller.tenant
        check_model(engine.manifest, request.model)
        now = int(self.now_s())
        thread = self.threads.open(tenant, request, now, terms.if_match)
        response_id = new_id("resp")
        given = resolved(self.store, tenant, request.items, "input", budget.check)
        new_items = [item_of(each, now, response_id) for each in given]
        continues = cut = None
        tools, text = ToolFacts.of(request), text_facts(request.text)
        if _says_something(new_items):
            job, dropped = self._new_job(request, thread, new_items, budget)
        else:
            new_items = []
            job, continues, tools, cut = self._continued_job(request, tenant, thread)
            text, dropped = cut.text, cut.dormouse.dropped_items if cut.dormouse else []
        self.inference.check_time(len(job.prompt_ids), budget)
        return Turn(
            request=request,
            tenant=tenant,
            model=engine.manifest.name,
            fingerprint=self.fingerprint,
            instruction_set=self.instruction_set,
            created_at_s=now,
            budget=budget,
            thread=thread,
            input_items=new_items,
            job=job,
            dropped_items=dropped,
            response_id=response_id,
            attempt=attempt,
            tools=tools,
            text_facts=text,
            continues=continues,
            cut=cut,
        )

    def count(self, request: InputTokensRequest, caller: Caller) -> InputTokens:
        """Count the prompt that the same request would have. Raises: RequestError."""
        budget, tenant = self.inference.budget(caller), caller.tenant
        if request.model is not None:
            check_model(self.inference.engine.manifest, request.model)
        now = int(self.now_s())
        thread = self.threads.open(tenant, request, now)
        given = resolved(self.store, tenant, request.items, "input", budget.check)
        new = [item_of(each, now, None) for each in given]
        if _says_something(new):
            fitted = self._fit(request, thread, new, self._toolbox(request, budget), budget)
            return InputTokens(input_tokens=len(fitted.prompt_ids))
        previous, item = self._interrupted(request, tenant, thread)
        return InputTokens(input_tokens=len(previous.state[PROMPT]) + len(item.token_ids))

    def _new_job(
        self, request: ResponseRequest, thread: Thread, new: list[Item], budget: Budget
    ) -> tuple[Job, list[str]]:
        params = params_of(request, self.inference.engine.manifest, seed=request.seed)
        toolbox = self._toolbox(request, budget)
        fitted = self._fit(request, thread, new, toolbox, budget)
        wants_parts = request.dormouse is not None and request.dormouse.explain
        said, shown = fitted.messages, toolbox.shown
        job = Job(
            fitted.prompt_ids,
            params,
            max_tokens=request.max_output_tokens,
            stop=stop_strings(request.stop),
            calls=toolbox.syntax,
            grammar=toolbox.grammar,
            top_logprobs=request.wanted_logprobs,
            resumable=True,
            parts=parts_of(self.inference.engine, said, shown, budget.should_stop) if wants_parts else None,
        )
        return job, fitted.dropped_items

    def _toolbox(self, request: ResponseInput, budget: Budget) -> Toolbox:
        engine = self.inference.engine
        wanted = request.text.format if request.text else None
        form = grammar_of(engine, wanted)
        return toolbox_of(
            engine,
            request.tools or (),
            choice_of(request.tool_choice),
            parallel=request.parallel_tool_calls,
            where="tools[{}]",
            form=form,
            check_time=budget.check,
        )

    def _fit(
        self, request: ResponseInput, thread: Thread, new: list[Item], toolbox: Toolbox, budget: Budget
    ) -> Fitted:
        check_results(thread.items, new, "input")
        said = [Message("system", request.instructions)] if request.instructions else []
        messages = [*said, *history([*thread.items, *new])]
        try:
            return fit(
                self.inference.engine,
                messages,
                tools=toolbox.shown,
                truncate=request.truncation == "auto",
                older_left_out=thread.older_left_out,
                check_time=budget.check,
            )
        except InvalidRequest as error:
            if error.param == "messages":  # a chat completion's name for what the template refuses
                error.param = "input"
            raise

    def _continued_job(
        self, request: ResponseRequest, tenant: str, thread: Thread
    ) -> tuple[Job, Item, ToolFacts, ResponseObject]:
        """Go on with an answer that was cut, with its tools; its body tells what else is kept."""
        if request.dormouse is not None and request.dormouse.explain:
            raise Unsupported(
                "'dormouse.explain' is not supported where an answer is continued.", param="dormouse.explain"
            )
        previous, item = self._interrupted(request, tenant, thread)
        body = ResponseObject.stored(previous.body)
        kept = ToolFacts(tuple(body.tools), body.tool_choice, body.parallel_tool_calls)
        syntax = self.inference.engine.prompt.call_syntax
        job = continued_job(previous, item, request, self.fingerprint, syntax)
        return job, item, kept.again(request), body

    def _interrupted(
        self, request: ResponseInput, tenant: str, thread: Thread
    ) -> tuple[StoredResponse, Item]:
        """An empty input goes on with an answer that was cut: the one named, or the conversation's last."""
        last = thread.items[-1] if thread.items else None
        name = request.previous_response_id or (last.response_id if last else None)
        previous = self._previous(tenant, name) if name else None
        if previous is not None and previous.status in ("incomplete", "cancelled"):
            wanted = previous.state.get("item_id")
            item = next((each for each in thread.items if each.id == wanted), None)
            if item is not None and (item is last or request.previous_response_id is not None):
                previous = checked(self.store, tenant, previous, (each.seq for each in thread.items))
                if PROMPT not in previous.state:
                    raise Conflict(
                        "Something that the answer was made of has been deleted: it cannot be continued.",
                        param="previous_response_id" if request.previous_response_id else "conversation",
                    )
                self._check_room(len(previous.state[PROMPT]) + len(item.token_ids), request)
                return previous, item
        raise InvalidRequest(
            "'input' is empty: that is only allowed to continue an incomplete response, named by "
            "'previous_response_id', or the last one of a 'conversation'.",
            param="input",
            code="missing_required_parameter",
        )

    def _check_room(self, used_tokens: int, request: ResponseInput) -> None:
        limit = self.inference.engine.model.context_tokens
        if used_tokens >= limit:
            raise ContextOverflow(
                f"The answer has used up the context and cannot be continued: with its prompt it has "
                f"{used_tokens} of this model's {limit} tokens.",
                param="previous_response_id" if request.previous_response_id else "conversation",
            )

    def _previous(self, tenant: str, response_id: str) -> StoredResponse | None:
        try:
            return self.store.response(tenant, response_id)
        except NotFound:  # deleted; its items are there still
            return None


def _says_something(items: list[Item]) -> bool:
    return len(items) > 1 or any(
        item.type != "message" or any(part["text"] for part in item.content) for item in items
    )
