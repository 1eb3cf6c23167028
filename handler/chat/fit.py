"""Messages -> prompt ids within the context window; what does not fit is refused or dropped, and told.

Lengths are counts of the ids that the chat template itself makes, never estimates.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handler.chat.messages import Message, template_messages
from handler.engine.engine import Engine
from handler.errors import ContextOverflow


@dataclass(frozen=True)
class Fitted:
    """The prompt, the messages in it, and which stored items are not."""

    prompt_ids: list[int]
    messages: list[Message]
    dropped_items: list[str]


def fit(
    engine: Engine,
    messages: Sequence[Message],
    *,
    tools: Sequence[Mapping[str, Any]] = (),
    truncate: bool,
    older_left_out: bool = False,
) -> Fitted:
    """Encode messages so that at least one token of answer fits after them.

    With `truncate`, whole turns are dropped, oldest first; system messages and the last turn stay.
    A result whose call is not there, dropped or deleted, is left out as well: templates refuse it.
    `older_left_out`: these are only the newest of the messages, which is as good as dropped.

    Raises: ContextOverflow.
    """
    turns = turns_of(messages)
    cache: dict[int, list[int]] = {}

    def ids_without(dropped: int) -> list[int]:
        if dropped not in cache:
            kept = conversation_without(messages, turns[:dropped])
            cache[dropped] = engine.prompt.encode(template_messages(kept), tools=list(tools) or None)
        return cache[dropped]

    def told(dropped: int) -> Fitted:
        kept = conversation_without(messages, turns[:dropped])
        ids = {id_ for message in kept for id_ in message.item_ids}
        left_out = [id_ for message in messages for id_ in message.item_ids if id_ not in ids]
        return Fitted(ids_without(dropped), kept, left_out)

    limit = engine.model.context_tokens
    most = max(0, len(turns) - 1) if truncate else 0
    whole = ids_without(0)
    if len(whole) < limit:
        if older_left_out and not truncate:
            raise ContextOverflow(
                f"The conversation is longer than its newest {len(messages)} messages, which take "
                f"{len(whole)} of this model's {limit} tokens. With 'truncation' set to 'auto' it is "
                f"answered from these.",
                param="input",
            )
        return told(0)
    dropped = bisect_left(range(most + 1), True, key=lambda n: len(ids_without(n)) < limit)
    if dropped > most:
        least = len(ids_without(most))
        raise ContextOverflow(
            f"This model's context is {limit} tokens, of which the answer needs at least 1; the prompt has "
            f"{'more than ' if older_left_out else ''}{len(whole)} tokens"
            + (f", and {least} without its older turns." if truncate else "."),
            param="input" if any(m.item_ids for m in messages) else "messages",
        )
    return told(dropped)


def turns_of(messages: Sequence[Message]) -> list[list[Message]]:
    """Group by turn: what a user says, and what is said until the user speaks again."""
    turns: list[list[Message]] = []
    previous = None
    for message in messages:
        if message.role in ("system", "developer"):
            continue
        goes_on = previous is not None and (
            message.role != "user"
            or (previous.role == "user" and previous.response_id == message.response_id)
        )
        if not goes_on:
            turns.append([])
        turns[-1].append(message)
        previous = message
    return turns


def conversation_without(messages: Sequence[Message], turns: Sequence[Sequence[Message]]) -> list[Message]:
    """What is left when these turns had not been; a result goes with its call."""
    gone = {id(message) for turn in turns for message in turn}
    kept: list[Message] = []
    made: set[str | None] = set()
    for message in messages:
        if id(message) in gone or (message.role == "tool" and message.call_id not in made):
            continue
        made.update(call.id for call in message.calls)
        kept.append(message)
    return kept
