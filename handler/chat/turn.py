"""One turn of a response, from the checked request to the stored answer.

A turn is prepared (history read, prompt fitted), run, and then committed whole: the user's items, the answer
and the response record go into one conditional write, before the client is told that the turn is complete.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from handler.chat.budget import Budget
from handler.chat.continuation import sampling_record
from handler.chat.erasure import HISTORY, PROMPT
from handler.chat.messages import Message
from handler.chat.references import item_id
from handler.chat.retries import Attempt
from handler.chat.run import Job, Run
from handler.chat.sampling import told_probability
from handler.chat.spoken import Spoken, SpokenText, kept, resumed, shown, status_of, take
from handler.chat.thread import Thread
from handler.chat.tools import ToolFacts
from handler.chat.translate import message_of, new_id
from handler.engine.values import Piece
from handler.schema.formats import TextFacts
from handler.schema.items import Status
from handler.schema.responses import (
    IncompleteDetails,
    InputTokensDetails,
    ResponseConversation,
    ResponseObject,
    ResponseRequest,
    ResponseUsage,
)
from handler.sessions import Claim, Item, StoredResponse, Usage

CONTINUES_AT = "continues_at"
"""Field of an item that goes on with another: how many characters that one had then."""


@dataclass
class Turn:
    """What is known of a turn; what is `spoken` grows while it runs."""

    request: ResponseRequest
    tenant: str
    model: str
    fingerprint: str
    instruction_set: str
    created_at_s: int
    budget: Budget
    thread: Thread
    input_items: list[Item]
    job: Job
    dropped_items: list[str]
    response_id: str
    tools: ToolFacts
    text_facts: TextFacts
    attempt: Attempt | None = None
    """Absent where nothing is stored."""
    continues: Item | None = None
    cut: ResponseObject | None = None
    """What was told of the answer that is continued: its prompt is this turn's."""
    spoken: list[Spoken] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if self.continues is not None:
            self.spoken += resumed(self.continues, self._named)
        if self.job.calls is None and not self.spoken:
            self.spoken.append(SpokenText(self._named("msg")))

    def take(self, piece: Piece, logprobs: Sequence[Any] = ()) -> None:
        """Let a piece grow the answer."""
        take(self.spoken, piece, self._named, logprobs)

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Tell those who send the same request again that it is worked on, and whether it failed."""
        if self.attempt is None:
            yield
            return
        with self.attempt.under_way():
            named = self.thread.conversation.version if self.thread.named else None
            self.attempt.begin(named, noted=True)
            yield

    def claim(self) -> Claim | None:
        """What the write of this turn settles."""
        return None if self.attempt is None else self.attempt.claim(self.response_id)

    def beginning(self) -> ResponseObject:
        """The response object before anything is said."""
        request, params = self.request, self.job.params
        named = self.thread.conversation.id if self.thread.named else None
        return ResponseObject(
            id=self.response_id,
            created_at=self.created_at_s,
            status="in_progress",
            instructions=(self.cut or request).instructions,
            max_output_tokens=request.max_output_tokens,
            model=self.model,
            output=[],
            parallel_tool_calls=self.tools.parallel,
            previous_response_id=request.previous_response_id,
            conversation=ResponseConversation(id=named) if named else None,
            store=request.store is not False,
            temperature=params.temperature,
            top_p=told_probability(params.top_p),
            top_logprobs=self.job.top_logprobs or 0,
            text=self.text_facts,
            tool_choice=self.tools.choice,
            tools=list(self.tools.functions),
            truncation=(self.cut or request).truncation or "disabled",
            user=request.user,
            safety_identifier=request.safety_identifier,
            prompt_cache_key=request.prompt_cache_key,
            metadata=request.metadata or {},
        )

    def ending(self, run: Run, completed_at_s: int) -> ResponseObject:
        """The response object when all is said; `dormouse` is added by whoever has the prices."""
        if not self.spoken:
            self.spoken.append(SpokenText(self._named("msg")))
        output = len(run.output_ids)
        facts = ending_facts(run, self.budget, completed_at_s)
        return self.beginning().model_copy(
            update={
                **facts,
                "output": [shown(spoken, status) for spoken, status in self._statuses(run)],
                "usage": ResponseUsage(
                    input_tokens=run.prompt_tokens,
                    input_tokens_details=InputTokensDetails(
                        cached_tokens=run.cached_tokens,
                        cache_write_tokens=run.prompt_tokens - run.cached_tokens,
                    ),
                    output_tokens=output,
                    total_tokens=run.prompt_tokens + output,
                ),
            }
        )

    def items_to_store(self, run: Run) -> list[Item]:
        """The user's items and the answer; its last item has all that is needed to continue it exactly."""
        ids = [*self.job.prior_ids, *run.output_ids]
        items = [
            kept(spoken, status, created_at_s=self.created_at_s, response_id=self.response_id)
            for spoken, status in self._statuses(run)
        ]
        if self.continues is not None:
            at = {CONTINUES_AT: len(message_of(self.continues).content)}
            fields = {**items[0].fields, **at}
            items[0] = dataclasses.replace(items[0], continues=self.continues.id, fields=fields)
        last = dataclasses.replace(items[-1], token_ids=tuple(ids), sampling=sampling_record(self.job))
        return [*self.input_items, *items[:-1], last]

    def _named(self, prefix: str) -> str:
        """Name the item that begins so that it can be referred to."""
        return new_id(prefix) if prefix == "call" else item_id(prefix, self.response_id, len(self.spoken))

    def _statuses(self, run: Run) -> list[tuple[Spoken, Status]]:
        is_over = run.stop_reason == "stop"
        return [(each, status_of(each, is_over or each is not self.spoken[-1])) for each in self.spoken]

    def record(self, body: ResponseObject) -> StoredResponse:
        """The response as it is kept; one that is not complete keeps its prompt, to be continued."""
        state: dict[str, Any] = {"fingerprint": self.fingerprint, "item_id": self.spoken[-1].id}
        state["instruction_set"] = self.instruction_set
        state["top_logprobs"] = self.job.top_logprobs
        if body.status != "completed":
            unspoken = len(self.job.prompt_ids) - self.job.prior_tokens
            state[PROMPT] = list(self.job.prompt_ids[:unspoken])
            state[HISTORY] = [each.seq for each in self.thread.items if each.id not in self.dropped_items]
        return StoredResponse(
            id=self.response_id,
            conversation_id=self.thread.conversation.id,
            created_at_s=self.created_at_s,
            status=body.status,
            body=body.model_dump(mode="json"),
            state=state,
        )

    def usage(self, run: Run) -> Usage:
        """What the turn adds to the counters."""
        return Usage(run.prompt_tokens, run.cached_tokens, len(run.output_ids), 1)


def ending_facts(run: Run, budget: Budget, completed_at_s: int) -> dict[str, Any]:
    """How a response ended: one whose client hung up is incomplete, cancelled is one that was called off."""
    if run.stop_reason == "stop":
        return {"status": "completed", "completed_at": completed_at_s, "incomplete_details": None}
    if run.stop_reason == "cancelled" and budget.is_cancelled:
        return {"status": "cancelled", "completed_at": None, "incomplete_details": None}
    details = IncompleteDetails(reason="max_output_tokens")
    return {"status": "incomplete", "completed_at": None, "incomplete_details": details}


def history(items: Sequence[Item]) -> list[Message]:
    """Stored items -> messages: an answer is one message, also one that was continued; an empty one is none.

    A call that was cut is left out: the continuation, if there is one, has it whole. What an item has become
    longer by since it was continued (its own stream was resumed) is left out as well.
    """
    messages: list[Message] = []
    own = ""  # what the last item says itself
    for item in items:
        message = message_of(item)
        before = messages[-1] if messages and messages[-1].role == message.role == "assistant" else None
        goes_on = before is not None and item.continues == before.item_ids[-1]
        since = len(own) - int(item.fields.get(CONTINUES_AT, len(own))) if goes_on else 0
        own = message.content
        if item.type == "function_call" and item.status != "completed":
            continue
        if before is not None and (goes_on or message.calls):
            messages[-1] = dataclasses.replace(
                before,
                content=before.content[: len(before.content) - since] + message.content,
                item_ids=before.item_ids + message.item_ids,
                response_id=message.response_id,
                calls=before.calls + message.calls,
            )
        elif message.content or message.calls or message.role != "assistant":
            messages.append(message)
    return messages
