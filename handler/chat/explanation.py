"""An answer explained: how sure the model was of each token, and which turns the answer rests on.

Owns what is left out in turn, the limits and the wording. A turn's support is how many nats less likely
the very same answer is without it. Knows no endpoint, no cache and no queue.

Source: leave-one-out attribution, as in Li, Monroe, Jurafsky, "Understanding Neural Networks through
Representation Erasure", 2016.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from handler.chat.fit import conversation_without, turns_of
from handler.chat.logprobs import SMALLEST
from handler.chat.messages import Message, template_messages
from handler.chat.parts import Part
from handler.chat.run import Run
from handler.engine.certainty import Certainty
from handler.engine.engine import Engine
from handler.engine.token_bytes import token_bytes
from handler.errors import InvalidRequest
from handler.schema.explanation import Explanation, Span, Support, TokenCertainty

MOST_TURNS = 8  # the newest before the question; each costs a reading of the prompt
UNSURE = math.log(0.3)  # a token less likely than that is marked


def parts_of(
    engine: Engine,
    messages: Sequence[Message],
    tools: Sequence[Any],
    should_stop: Callable[[], object],
) -> tuple[Part, ...]:
    """What an answer to these messages may rest on: system messages and the turns before the last one.

    No prompt is encoded for them when it is time to stop.
    """
    spoken = turns_of(messages)[:-1]
    ruling = [[message] for message in messages if message.role in ("system", "developer")]
    groups = sorted([*ruling, *spoken], key=lambda group: _place(messages, group[0]))
    near = len(groups) - MOST_TURNS
    return tuple(
        Part(
            group[0].role,
            tuple(_place(messages, message) for message in group),
            tuple(id_ for message in group for id_ in message.item_ids),
            _encoded(engine, conversation_without(messages, [group]), tools)
            if at >= near and not should_stop()
            else None,
        )
        for at, group in enumerate(groups)
    )


def explanation_of(engine: Engine, run: Run, *, stored: bool) -> Explanation | None:
    """Tell what was read of an answer; `stored`: turns are told by their items, else by messages' places."""
    read = run.read
    if read is None:
        return None
    whole = sum(one.logprob for one in read.certainties)
    support = [
        Support(
            role=part.role,
            messages=[] if stored else list(part.messages),
            item_ids=list(part.item_ids) if stored else [],
            nats=None if without is None else round(whole - without, 4),
        )
        for part, without in zip(run.job.parts or (), read.without, strict=True)
    ]
    all_told = len(read.certainties) == len(run.output_ids)
    return Explanation(
        tokens=[_told(engine, one) for one in read.certainties],
        low_confidence=_spans(engine, read.certainties),
        support=support,
        complete=all_told and all(one.nats is not None for one in support),
        ms=round(read.ms, 3),
    )


def _place(messages: Sequence[Message], wanted: Message) -> int:
    return next(at for at, message in enumerate(messages) if message is wanted)


def _encoded(engine: Engine, messages: Sequence[Message], tools: Sequence[Any]) -> list[int] | None:
    try:
        return engine.prompt.encode(template_messages(messages), tools=list(tools) or None)
    except InvalidRequest:  # a template may insist on what was left out
        return None


def _told(engine: Engine, one: Certainty) -> TokenCertainty:
    token = token_bytes(engine.tokenizer, one.id).decode("utf-8", "replace")
    return TokenCertainty(
        token=token, logprob=round(max(one.logprob, SMALLEST), 6), entropy=round(one.entropy, 6)
    )


def _spans(engine: Engine, certainties: Sequence[Certainty]) -> list[Span]:
    """Neighbouring unlikely tokens as one span; a part of a character counts with the whole character."""
    raw = [token_bytes(engine.tokenizer, one.id) for one in certainties]
    text, ends = b"".join(raw), list[int]()
    for part in raw:
        ends.append((ends[-1] if ends else 0) + len(part))
    spans: list[Span] = []
    before = False
    for at, one in enumerate(certainties):
        unsure = one.logprob < UNSURE
        if unsure:
            start = len(text[: ends[at - 1] if at else 0].decode("utf-8", "ignore"))
            end = len(text[: ends[at]].decode("utf-8", "replace"))
            probability = round(math.exp(one.logprob), 6)
            if before:
                start, probability = spans[-1].start, min(probability, spans.pop().probability)
            said = text.decode("utf-8", "replace")[start:end]
            spans.append(Span(start=start, end=end, text=said, probability=probability))
        before = unsure
    return spans
