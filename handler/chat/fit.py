"""Messages -> prompt ids within the context window; what does not fit is refused or dropped, and told.

Lengths are counts of the ids that the chat template itself makes, never estimates. What is far too long is
not counted to its end, and is told as more than the context.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handler.chat.messages import Message, template_messages
from handler.engine.engine import Engine
from handler.errors import ContextOverflow

ROOM_TOKENS = 256  # a prompt that leaves less is answered by half a sentence


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
    check_time: Callable[[], None] = lambda: None,
) -> Fitted:
    """Encode messages so that at least one token of answer fits after them.

    With `truncate`, whole turns are dropped, oldest first, until an answer of `ROOM_TOKENS` has room, or of a
    quarter of the context; system messages and the last turn stay.
    A result whose call is not there, dropped or deleted, is left out as well: templates refuse it.
    `older_left_out`: these are only the newest of the messages, which is as good as dropped.
    `check_time` is called between two encodings.

    Raises: ContextOverflow; what `check_time` raises.
    """
    prompts = _Prompts(engine, messages, tools)
    limit = engine.model.context_tokens
    room = max(1, min(ROOM_TOKENS, limit // 4)) if truncate else 1

    def fits(kept: int) -> bool:
        check_time()
        return prompts.tokens(kept) <= limit - room

    kept = turns = len(prompts.turns)
    if prompts.tokens(turns) > limit - room and truncate:
        # If the last turn alone takes more, what is left is the answer's.
        kept = max(min(1, turns), newest_that_fit(turns, fits))
    if prompts.tokens(kept) >= limit:
        without = f", and {prompts.told_tokens(kept)} without its older turns" if truncate else ""
        raise ContextOverflow.of(
            f"{prompts.told_tokens(turns, more=older_left_out)} tokens{without}",
            limit,
            1,
            param="input" if any(m.item_ids for m in messages) else "messages",
        )
    if older_left_out and not truncate:
        raise ContextOverflow(
            f"The conversation is longer than its newest {len(messages)} messages, which take "
            f"{prompts.tokens(kept)} of this model's {limit} tokens. With 'truncation' set to 'auto' it is "
            f"answered from these.",
            param="input",
        )
    return prompts.fitted(kept)


class _Prompts:
    """What the newest turns make, however many are kept; each is encoded once."""

    def __init__(
        self, engine: Engine, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]
    ) -> None:
        self.turns = turns_of(messages)
        self._engine, self._messages, self._tools = engine, messages, list(tools) or None
        self._ids: dict[int, list[int] | None] = {}

    def tokens(self, kept: int) -> float:
        """Count them; infinite where there are far more than the context has."""
        if kept not in self._ids:
            self._ids[kept] = self._encoded(kept)
        ids = self._ids[kept]
        return math.inf if ids is None else len(ids)

    def told_tokens(self, kept: int, *, more: bool = False) -> str:
        """Count them for a person; there may be `more`."""
        tokens = self.tokens(kept)
        if tokens == math.inf:
            return f"more than {self._engine.model.context_tokens}"
        return f"more than {tokens}" if more else f"{tokens}"

    def fitted(self, kept: int) -> Fitted:
        """Tell what is kept, and what is not."""
        messages = self._newest(kept)
        ids = {id_ for message in messages for id_ in message.item_ids}
        left_out = [id_ for message in self._messages for id_ in message.item_ids if id_ not in ids]
        return Fitted(self._ids[kept] or [], messages, left_out)

    def _newest(self, kept: int) -> list[Message]:
        return conversation_without(self._messages, self.turns[: len(self.turns) - kept])

    def _encoded(self, kept: int) -> list[int] | None:
        said, limit = template_messages(self._newest(kept)), self._engine.model.context_tokens
        try:
            return self._engine.prompt.encode(said, tools=self._tools, most_tokens=limit)
        except ContextOverflow:
            return None


def newest_that_fit(count: int, fits: Callable[[int], bool]) -> int:
    """Find how many of the newest fit, where all do not: twice as many each time, then those between.

    So the work goes by what fits, not by what there is.
    Source: Bentley, Yao, "An almost optimal algorithm for unbounded searching", 1976.
    """
    too_many = 1
    while too_many < count and fits(too_many):
        too_many *= 2
    between = range(too_many // 2 + 1, min(too_many, count) + 1)
    return too_many // 2 + bisect_left(between, True, key=lambda kept: not fits(kept))


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
