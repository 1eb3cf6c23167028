"""How an answer that was cut goes on: what decided its tokens is kept with it, and holds for the rest.

Owns the record of an answer's sampling, written and read, and what whoever continues it may not change. Knows
neither store nor turns, nor which answer is meant.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from handler.chat.erasure import PROMPT
from handler.chat.formats import text_facts
from handler.chat.run import Job
from handler.chat.sampling import stop_strings, told_probability
from handler.engine.call_syntax import CallSyntax
from handler.engine.grammar import Grammar
from handler.engine.sampling import SamplingParams
from handler.errors import Conflict, InvalidRequest
from handler.schema.responses import ResponseRequest
from handler.sessions import Item, StoredResponse

FIXED = ("temperature", "top_p", "top_k", "min_p", "typical_p", "repetition_penalty", "seed")
"""What decides the next token and may not change in the middle of an answer."""


@dataclass(frozen=True)
class SamplingRecord:
    """What decided an answer's tokens, and how they are read."""

    params: SamplingParams
    stop: tuple[str, ...]
    grammar: Grammar | None
    has_calls: bool


def sampling_record(job: Job) -> dict[str, Any]:
    """Everything that decides the next token, as JSON."""
    record = dataclasses.asdict(job.params)
    record["logit_bias"] = {str(id_): value for id_, value in job.params.logit_bias.items()}
    grammar = {} if job.grammar is None else {"grammar": job.grammar.text}
    calls = {} if job.calls is None else {"calls": True}
    return {**record, **grammar, **calls, "stop": list(job.stop)}


def sampling_of(item: Item) -> SamplingRecord:
    """Undo `sampling_record`; what a newer version has added to it is passed over."""
    kept = dict(item.sampling)
    stop, text = tuple(kept.pop("stop")), kept.pop("grammar", None)
    has_calls = kept.pop("calls", False)
    kept["logit_bias"] = {int(id_): value for id_, value in kept["logit_bias"].items()}
    params = {each.name: kept[each.name] for each in dataclasses.fields(SamplingParams) if each.name in kept}
    grammar = None if text is None else Grammar(text)
    return SamplingRecord(SamplingParams(**params), stop, grammar, has_calls)


def continued_job(
    previous: StoredResponse, item: Item, request: ResponseRequest, fingerprint: str, syntax: CallSyntax
) -> Job:
    """Take up an unfinished answer where it was cut: same prompt, seed and parameters, the ids said so far.

    Raises: InvalidRequest where the request asks for other parameters; Conflict where the model has changed.
    """
    if previous.state.get("fingerprint") != fingerprint:
        raise Conflict(
            "The response was begun by another version of the model and cannot be continued exactly.",
            param="previous_response_id",
        )
    said = sampling_of(item)
    kept = {
        **dataclasses.asdict(said.params),
        "stop": said.stop,
        "instructions": previous.body.get("instructions"),
        "truncation": previous.body["truncation"],
    }
    for name in (*FIXED, "stop", "instructions", "truncation"):
        given, same = getattr(request, name), _as_asked(name, kept[name])
        if given is not None and _as_asked(name, given) != same:
            raise InvalidRequest(
                f"A continued answer keeps its {name} of {same!r}; leave the field out.", param=name
            )
    asked = text_facts(request.text).model_dump(by_alias=True)
    if request.text is not None and request.text.format is not None and asked != previous.body["text"]:
        raise InvalidRequest("A continued answer keeps its format; leave the field out.", param="text.format")
    prompt_ids = [*previous.state[PROMPT], *item.token_ids]
    return Job(
        prompt_ids,
        said.params,
        max_tokens=request.max_output_tokens,
        stop=said.stop,
        top_logprobs=request.wanted_logprobs,
        prior_tokens=len(item.token_ids),
        begun_on=previous.state.get("instruction_set"),
        grammar=said.grammar,
        calls=syntax if said.has_calls else None,
        resumable=True,
    )


def _as_asked(name: str, value: Any) -> Any:
    """One spelling for what a request may write in several ways."""
    if name == "stop":
        return stop_strings(value)
    return told_probability(value) if name in ("top_p", "typical_p") else value
