"""One turn of a response, from the checked request to the stored answer.

A turn is prepared (history read, prompt fitted), run, and then committed whole: the user's items, the answer
and the response record go into one conditional write, before the client is told that the turn is complete.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from handler.chat.budget import Budget
from handler.chat.fit import Message
from handler.chat.formats import grammar_of
from handler.chat.inference import Job, Run
from handler.chat.thread import Thread
from handler.chat.translate import message_of, new_id
from handler.engine.grammar import Grammar
from handler.engine.sampling import SamplingParams
from handler.errors import Conflict, InvalidRequest
from handler.schema.formats import TextFacts
from handler.schema.items import MessageItem, OutputText, Status
from handler.schema.responses import (
    IncompleteDetails,
    InputTokensDetails,
    ResponseConversation,
    ResponseObject,
    ResponseRequest,
    ResponseUsage,
)
from handler.sessions import Item, StoredResponse, Usage


@dataclass
class Turn:
    """What is known of a turn; `text` grows while it runs."""

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
    continues: str | None = None
    text_facts: TextFacts = field(default_factory=TextFacts)
    item_id: str = field(default_factory=lambda: new_id("msg"))
    text: str = ""
    logprobs: list[Any] = field(default_factory=list)

    def item(self, status: Status) -> MessageItem:
        """The answer so far, as OpenAI's message object."""
        content: list[Any] = [] if status == "in_progress" else [self.part()]
        return MessageItem(id=self.item_id, status=status, role="assistant", content=content)

    def part(self) -> OutputText:
        """The answer's text so far."""
        return OutputText(text=self.text, logprobs=self.logprobs)

    def beginning(self) -> ResponseObject:
        """The response object before anything is said."""
        request, params = self.request, self.job.params
        named = self.thread.conversation.id if self.thread.named else None
        return ResponseObject(
            id=self.response_id,
            created_at=self.created_at_s,
            status="in_progress",
            instructions=request.instructions,
            max_output_tokens=request.max_output_tokens,
            model=self.model,
            output=[],
            parallel_tool_calls=request.parallel_tool_calls is not False,
            previous_response_id=request.previous_response_id,
            conversation=ResponseConversation(id=named) if named else None,
            store=request.store is not False,
            temperature=params.temperature,
            top_p=params.top_p,
            top_logprobs=self.job.top_logprobs or 0,
            text=self.text_facts,
            tool_choice=request.tool_choice or "auto",
            truncation=request.truncation or "disabled",
            user=request.user,
            safety_identifier=request.safety_identifier,
            prompt_cache_key=request.prompt_cache_key,
            metadata=request.metadata or {},
        )

    def ending(self, run: Run, completed_at_s: int) -> ResponseObject:
        """The response object when all is said; `dormouse` is added by whoever has the prices."""
        complete = run.stop_reason == "stop"
        output = len(run.output_ids)
        return self.beginning().model_copy(
            update={
                "status": "completed" if complete else "incomplete",
                "completed_at": completed_at_s if complete else None,
                "incomplete_details": None if complete else IncompleteDetails(reason="max_output_tokens"),
                "output": [self.item("completed" if complete else "incomplete")],
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
        """The user's items and the answer, with all that is needed to continue it exactly."""
        spoken = [*self.job.prompt_ids[len(self.job.prompt_ids) - self.job.prior_tokens :], *run.output_ids]
        answer = Item(
            id=self.item_id,
            created_at_s=self.created_at_s,
            role="assistant",
            content=[{"type": "output_text", "text": self.text}],
            status="completed" if run.stop_reason == "stop" else "incomplete",
            response_id=self.response_id,
            token_ids=tuple(spoken),
            sampling=sampling_record(self.job),
            continues=self.continues,
        )
        return [*self.input_items, answer]

    def record(self, body: ResponseObject) -> StoredResponse:
        """The response as it is kept; an incomplete one keeps its prompt, to be continued."""
        state: dict[str, Any] = {"fingerprint": self.fingerprint, "item_id": self.item_id}
        state["instruction_set"] = self.instruction_set
        if body.status == "incomplete":
            unspoken = len(self.job.prompt_ids) - self.job.prior_tokens
            state["prompt_ids"] = list(self.job.prompt_ids[:unspoken])
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


def history(items: Sequence[Item]) -> list[Message]:
    """Stored items -> messages; an answer that was continued becomes one message again, an empty one none."""
    messages: list[Message] = []
    for item in items:
        message = message_of(item)
        if item.continues is not None and messages and messages[-1].item_id == item.continues:
            joined = messages[-1].content + message.content
            messages[-1] = Message(message.role, joined, item.id, item.response_id)
        elif message.content or message.role != "assistant":
            messages.append(message)
    return messages


def sampling_record(job: Job) -> dict[str, Any]:
    """Everything that decides the next token, as JSON."""
    record = dataclasses.asdict(job.params)
    record["logit_bias"] = {str(id_): value for id_, value in job.params.logit_bias.items()}
    grammar = {} if job.grammar is None else {"grammar": job.grammar.text}
    return {**record, **grammar, "stop": list(job.stop)}


def continued_job(previous: StoredResponse, item: Item, request: ResponseRequest, fingerprint: str) -> Job:
    """Take up an unfinished answer where it was cut: same prompt, seed and parameters, the ids said so far.

    Raises: InvalidRequest where the request asks for other parameters; Conflict where the model has changed.
    """
    if previous.state.get("fingerprint") != fingerprint:
        raise Conflict(
            "The response was begun by another version of the model and cannot be continued exactly.",
            param="previous_response_id",
        )
    kept = dict(item.sampling)
    stop, grammar = tuple(kept.pop("stop")), kept.pop("grammar", None)
    for name in ("temperature", "top_p", "top_k", "min_p", "typical_p", "repetition_penalty", "seed"):
        given = getattr(request, name)
        if given is not None and given != kept[name]:
            raise InvalidRequest(
                f"A continued answer keeps its {name} of {kept[name]!r}; leave the field out.", param=name
            )
    wanted = request.text.format if request.text else None
    if wanted is not None and (grammar_of(wanted) or Grammar("")).text != (grammar or ""):
        raise InvalidRequest("A continued answer keeps its format; leave the field out.", param="text.format")
    kept["logit_bias"] = {int(id_): value for id_, value in kept["logit_bias"].items()}
    prompt_ids = [*previous.state["prompt_ids"], *item.token_ids]
    return Job(
        prompt_ids,
        SamplingParams(**kept),
        max_tokens=request.max_output_tokens,
        stop=stop,
        top_logprobs=request.top_logprobs,
        prior_tokens=len(item.token_ids),
        begun_on=previous.state.get("instruction_set"),
        grammar=None if grammar is None else Grammar(grammar),
        resumable=True,
    )
