"""The loop: compute what is not cached yet, draw, check the guess, until a reason to stop.

Owns the order of things within one answer and the Protocols it needs (Model, Cache, Draft). Prefill, decode,
checking a draft and resuming an answer are one and the same call, `forward(ids, cache)`.
Knows nothing of text, messages, clocks, ONNX Runtime or who is listening.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from handler.engine.sampling import Sampler, log_normalizer, most_likely
from handler.engine.values import StopReason, Token
from handler.errors import ContextOverflow, InvalidRequest

RESERVED_TOKENS = 256  # of an answer, with the prompt: room is made once, and not while tokens are awaited
PREFILL_STEP_TOKENS = 128  # between two looks at `should_stop`; also the fastest chunk on two cores

Rows = NDArray[np.float32]  # [rows, V]
ShouldStop = Callable[[], StopReason | None]
Ends = Callable[[Sequence[int]], StopReason | None]  # of the history, which only ever grows between calls


class Cache(Protocol):
    """Keys and values of the ids computed so far."""

    @property
    def length(self) -> int:
        """How many ids it holds."""

    def truncate(self, length: int) -> None:
        """Forget everything from position `length` on."""

    def reserve(self, total: int) -> None:
        """Make room for `total` ids at once; more of them may follow all the same. Raises: Unavailable."""


class Model(Protocol):
    """A causal language model; it takes back only the caches that it made itself."""

    @property
    def context_tokens(self) -> int:
        """The most ids that prompt and answer may have together."""

    def new_cache(self) -> Any:
        """Make an empty Cache."""

    def forward(self, ids: Sequence[int], cache: Any, rows: int = 1) -> Rows:
        """Append `ids` to the cache; return the logits after the last `rows`, good until the next call."""


class Draft(Protocol):
    """A source of guesses; right or wrong, they never change the answer."""

    def propose(self, history: Sequence[int], limit: int) -> list[int]:
        """Guess up to `limit` ids that may follow `history`, which only ever grows between calls."""


def generate(
    model: Model,
    cache: Cache,
    prompt_ids: Sequence[int],
    sampler: Sampler,
    *,
    eos: Collection[int],
    max_tokens: int | None = None,
    should_stop: ShouldStop = lambda: None,
    draft: Draft | None = None,
    top_logprobs: int | None = None,
    ends: Ends | None = None,
    on_end: Callable[[Generation], None] = lambda _: None,
) -> Generation:
    """Answer `prompt_ids`, computing only what `cache` does not hold; what it holds must be a prefix of them.

    `max_tokens` None means all the room there is. `should_stop` is asked once a token and once a prefill
    step. Tokens carry log-probabilities when `top_logprobs` is not None. The end-of-sequence id is not
    yielded; where `ends` tells a reason, the answer ends without one. `on_end` is called once, when the cache
    is free again: at the end, on an error, or on `close`.

    Raises: InvalidRequest for an empty prompt or `max_tokens` below 1; ContextOverflow when no room is left.
    """
    room = model.context_tokens - len(prompt_ids)
    if not prompt_ids:
        raise InvalidRequest("The prompt is empty.")
    if max_tokens is not None and max_tokens < 1:
        raise InvalidRequest(f"max_tokens must be 1 or more, not {max_tokens}.", param="max_tokens")
    if room < 1:
        raise ContextOverflow(
            f"The prompt has {len(prompt_ids)} tokens; the model's context is {model.context_tokens} tokens, "
            "and the answer needs at least one of them."
        )
    limits = Limits(
        room if max_tokens is None else min(max_tokens, room), eos, should_stop, top_logprobs, ends
    )
    return Generation(model, cache, prompt_ids, sampler, limits, draft, on_end)


@dataclass(frozen=True)
class Limits:
    """When an answer ends, and what its tokens carry."""

    budget_tokens: int
    eos: Collection[int]
    should_stop: ShouldStop
    top_logprobs: int | None
    ends: Ends | None


class Generation:
    """One answer in the making: iterate over it once for its tokens; `stop_reason` is None until the end.

    Nothing is computed before the first token is asked for. Whenever it rests, the cache holds a prefix of
    `ids`, even when nobody listens to the end.
    """

    def __init__(
        self,
        model: Model,
        cache: Cache,
        prompt_ids: Sequence[int],
        sampler: Sampler,
        limits: Limits,
        draft: Draft | None,
        on_end: Callable[[Generation], None],
    ) -> None:
        self.ids = list(prompt_ids)  # prompt and answer; right guesses run ahead of what was yielded
        self.prompt_tokens = len(self.ids)
        self.cached_tokens = min(cache.length, len(self.ids) - 1)  # the last id's logits have to be computed
        self.output_tokens = 0
        self.stop_reason: StopReason | None = None
        self.ending: tuple[Token, ...] = ()  # the end-of-sequence id, if it came; it is not yielded
        self._model, self._cache, self._sampler, self._draft = model, cache, sampler, draft
        self._limits = limits
        self._on_end: Callable[[Generation], None] | None = on_end
        self._tokens = self._run()
        self._computed: int | None = None  # of the prompt; None until room has been made

    def __iter__(self) -> Iterator[Token]:
        return self._tokens

    @property
    def output_ids(self) -> list[int]:
        """The ids yielded so far."""
        return self.ids[self.prompt_tokens : self.prompt_tokens + self.output_tokens]

    def prefill(self) -> Iterator[int]:
        """Compute the prompt but for its last step, yielding after each step how many ids are left.

        For whoever has something to do in between; asking for the first token does it as well.
        """
        if self._computed is None:
            self._computed = self.cached_tokens
            self._cache.truncate(self._computed)
            self._cache.reserve(self.prompt_tokens + min(self._limits.budget_tokens, RESERVED_TOKENS))
        while True:
            self.stop_reason = self._limits.should_stop()
            at = self._computed
            if self.stop_reason is not None or self.prompt_tokens - at <= PREFILL_STEP_TOKENS:
                return
            self._model.forward(self.ids[at : at + PREFILL_STEP_TOKENS], self._cache, rows=0)
            self._computed = at + PREFILL_STEP_TOKENS
            yield self.prompt_tokens - self._computed

    def close(self) -> None:
        """Stop early; the cache is free afterwards."""
        self._tokens.close()
        self._end()

    def _run(self) -> Generator[Token, None, None]:
        try:
            yield from self._answer()
        finally:
            self._end()

    def _end(self) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(self)

    def _answer(self) -> Iterator[Token]:
        limits = self._limits
        guess: list[int] = []
        logits = self._first_logits()
        while logits is not None:
            for id_, row in self._draw(logits, guess):
                if id_ in limits.eos:
                    self.ending = (scored(id_, row, limits.top_logprobs),)
                    self.stop_reason = "stop"
                    return
                self.output_tokens += 1
                yield scored(id_, row, limits.top_logprobs)
                self.stop_reason = self._reason_to_stop()
                if self.stop_reason is not None:
                    return
            # After the id that this step is sure to draw.
            room = limits.budget_tokens - self.output_tokens - 1
            guess = self._draft.propose(self.ids, room) if self._draft and room else []
            logits = self._model.forward([self.ids[-1], *guess], self._cache, rows=1 + len(guess))

    def _reason_to_stop(self) -> StopReason | None:
        """Why the id yielded last is the last one, if it is; complete comes before cut."""
        all_yielded = len(self.ids) == self.prompt_tokens + self.output_tokens
        if all_yielded and (reason := self._grammar_end()) is not None:
            return reason
        if self.output_tokens >= self._limits.budget_tokens:
            return "length"
        return self._limits.should_stop()

    def _grammar_end(self) -> StopReason | None:
        return None if self._limits.ends is None else self._limits.ends(self.ids)

    def _first_logits(self) -> Rows | None:
        """Finish the prompt; give the last id's logits, or None if told to stop."""
        for _ in self.prefill():
            pass
        if self.stop_reason is not None:
            return None
        return self._model.forward(self.ids[self._computed :], self._cache, rows=1)

    def _draw(self, logits: Rows, guess: list[int]) -> list[tuple[int, NDArray[np.float32]]]:
        """Draw one id a row for as long as the guess agrees with the draw; forget the rest of the guess.

        A guess is never trusted: what is kept is the sampler's own draw from the logits that it would have
        seen without any guess, so the answer is the same with drafts on or off.
        """
        drawn = []
        for at, row in enumerate(logits):
            id_ = self._sampler(row, self.ids)
            self.ids.append(id_)
            drawn.append((id_, row))
            if at == len(guess) or id_ != guess[at] or self._grammar_end():
                break
        self._cache.truncate(len(self.ids) - 1)  # the id drawn last is not computed yet
        return drawn


def scored(id_: int, row: NDArray[np.float32], top_logprobs: int | None) -> Token:
    """Make a token of an id that came and the logits it came from, with its log-probability if asked for."""
    if top_logprobs is None:
        return Token(id_)
    normalizer = log_normalizer(row)
    top = tuple((other, float(row[other]) - normalizer) for other in most_likely(row, top_logprobs))
    return Token(id_, float(row[id_]) - normalizer, top)
