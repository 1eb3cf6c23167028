"""From a request to a turn that is ready to run: its place, its prompt, or what it goes on with.

Reads the store and writes nothing. Does not generate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from handler.chat.budget import Budget
from handler.chat.fit import Fitted, Message, fit
from handler.chat.inference import Inference
from handler.chat.retries import Attempt
from handler.chat.run import Job
from handler.chat.sampling import check_model, params_of, stop_strings
from handler.chat.terms import Terms
from handler.chat.thread import Thread, Threads
from handler.chat.translate import item_of, new_id
from handler.chat.turn import Turn, continued_job, history
from handler.errors import InvalidRequest, NotFound
from handler.schema.responses import InputTokens, InputTokensRequest, ResponseInput, ResponseRequest
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
        new_items = [item_of(message, now, response_id) for message in request.messages]
        dropped: list[str] = []
        continues = None
        if _says_something(new_items):
            job, dropped = self._new_job(request, thread, new_items)
        else:
            new_items = []
            previous, continues = self._interrupted(request, tenant, thread)
            job = continued_job(previous, continues, request, self.fingerprint)
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
            continues=continues,
        )

    def count(self, request: InputTokensRequest, tenant: str) -> InputTokens:
        """Count the prompt that the same request would have. Raises: RequestError."""
        if request.model is not None:
            check_model(self.inference.engine.manifest, request.model)
        now = int(self.now_s())
        thread = self.threads.open(tenant, request, now)
        new = [item_of(message, now, None) for message in request.messages]
        if _says_something(new):
            return InputTokens(input_tokens=len(self._fit(request, thread, new).prompt_ids))
        previous, item = self._interrupted(request, tenant, thread)
        return InputTokens(input_tokens=len(previous.state["prompt_ids"]) + len(item.token_ids))

    def _new_job(self, request: ResponseRequest, thread: Thread, new: list[Item]) -> tuple[Job, list[str]]:
        params = params_of(request, self.inference.engine.manifest, seed=request.seed)
        fitted = self._fit(request, thread, new)
        wants_logprobs = request.top_logprobs is not None or bool(request.include)
        job = Job(
            fitted.prompt_ids,
            params,
            max_tokens=request.max_output_tokens,
            stop=stop_strings(request.stop),
            top_logprobs=(request.top_logprobs or 0) if wants_logprobs else None,
            resumable=True,
        )
        return job, fitted.dropped_items

    def _fit(self, request: ResponseInput, thread: Thread, new: list[Item]) -> Fitted:
        said = [Message("system", request.instructions)] if request.instructions else []
        messages = [*said, *history([*thread.items, *new])]
        return fit(
            self.inference.engine,
            messages,
            truncate=request.truncation == "auto",
            older_left_out=thread.older_left_out,
        )

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
                return previous, item
        raise InvalidRequest(
            "'input' is empty: that is only allowed to continue an incomplete response, named by "
            "'previous_response_id', or the last one of a 'conversation'.",
            param="input",
            code="missing_required_parameter",
        )

    def _previous(self, tenant: str, response_id: str) -> StoredResponse | None:
        try:
            return self.store.response(tenant, response_id)
        except NotFound:  # deleted; its items are there still
            return None


def _says_something(items: list[Item]) -> bool:
    return len(items) > 1 or any(item.content and item.content[0]["text"] for item in items)
