"""Messages -> prompt ids within the context window; what does not fit is refused or dropped, and told.

Lengths are counts of the ids that the chat template itself makes, never estimates.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from handler.engine.engine import Engine
from handler.errors import ContextOverflow


@dataclass(frozen=True)
class Message:
    """What the chat template is given; of a stored one, the item it came from and the response it belongs
    to."""

    role: str
    content: str
    item_id: str | None = None
    response_id: str | None = None
    begun_as: tuple[str, ...] = ()
    """The items of an answer that was cut and continued, all but the last."""


@dataclass(frozen=True)
class Fitted:
    """The prompt, and which stored items are not in it."""

    prompt_ids: list[int]
    dropped_items: list[str]


def fit(
    engine: Engine, messages: Sequence[Message], *, truncate: bool, older_left_out: bool = False
) -> Fitted:
    """Encode messages so that at least one token of answer fits after them.

    With `truncate`, whole turns are dropped, oldest first; system messages and the last turn stay.
    `older_left_out`: these are only the newest of the messages, which is as good as dropped.

    Raises: ContextOverflow.
    """
    turns = _turns(messages)
    cache: dict[int, list[int]] = {}

    def ids_without(dropped: int) -> list[int]:
        if dropped not in cache:
            kept = _without(messages, turns[:dropped])
            cache[dropped] = engine.prompt.encode([{"role": m.role, "content": m.content} for m in kept])
        return cache[dropped]

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
        return Fitted(whole, [])
    dropped = bisect_left(range(most + 1), True, key=lambda n: len(ids_without(n)) < limit)
    if dropped > most:
        least = len(ids_without(most))
        raise ContextOverflow(
            f"This model's context is {limit} tokens, of which the answer needs at least 1; the prompt has "
            f"{'more than ' if older_left_out else ''}{len(whole)} tokens"
            + (f", and {least} without its older turns." if truncate else "."),
            param="input" if any(m.item_id for m in messages) else "messages",
        )
    gone = [
        id
        for turn in turns[:dropped]
        for m in turn
        if m.item_id is not None
        for id in (*m.begun_as, m.item_id)
    ]
    return Fitted(ids_without(dropped), gone)


def _turns(messages: Sequence[Message]) -> list[list[Message]]:
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


def _without(messages: Sequence[Message], turns: Sequence[Sequence[Message]]) -> list[Message]:
    gone = {id(message) for turn in turns for message in turn}
    return [message for message in messages if id(message) not in gone]
