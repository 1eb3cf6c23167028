"""How likely a prompt is: each id's log-probability after those before it, by the model's own distribution.

Owns the order of a scoring, and what is kept of the last one. Of a prompt's logits only those of one step are
held at a time, and what they say of an id is computed as for a generated one: both agree to the bit.
Knows nothing of text, clocks or who is listening.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

from handler.engine.generate import PREFILL_STEP_TOKENS, Cache, Model, ShouldStop, scored
from handler.engine.values import StopReason, Token
from handler.engine.warm import common_prefix


@dataclass(frozen=True)
class Scores:
    """What was said of some ids; it holds of the same ids at the beginning of any other prompt."""

    ids: Sequence[int]
    tokens: Sequence[Token]
    top_logprobs: int = 0

    def of(self, prompt_ids: Sequence[int], top_logprobs: int) -> Sequence[Token]:
        """Give the tokens that a prompt begins with, as far as they are known."""
        if top_logprobs != self.top_logprobs:
            return ()
        return self.tokens[: common_prefix(self.ids, prompt_ids)]


class Scoring:
    """A prompt being scored: iterate over it once for its tokens; the first id follows nothing: no score.

    `known` are the prompt's first tokens, where they have been scored before: their rows are computed again
    only as far as `cache` does not hold them. `stop_reason` is None if all ids were scored. `on_end` is
    called once, when the cache is free again.
    """

    def __init__(
        self,
        model: Model,
        cache: Cache,
        prompt_ids: Sequence[int],
        *,
        known: Sequence[Token],
        top_logprobs: int,
        should_stop: ShouldStop,
        on_end: Callable[[Scoring], None],
    ) -> None:
        self.ids = list(prompt_ids)
        self.tokens = list(known) or [Token(self.ids[0])]  # scored so far
        self.cached_tokens = min(cache.length, len(self.tokens) - 1)  # the last token's logits score the next
        self.stop_reason: StopReason | None = None
        self._model, self._cache, self._top_logprobs = model, cache, top_logprobs
        self._should_stop, self._on_end = should_stop, on_end

    def __iter__(self) -> Generator[Token, None, None]:
        given = 0
        try:
            for _ in self._steps():
                yield from self.tokens[given:]
                given = len(self.tokens)
        finally:
            self._on_end(self)

    def _steps(self) -> Iterator[None]:
        """Add to the tokens, step by step; the last id is not computed, since nothing follows it."""
        self._cache.truncate(self.cached_tokens)
        self._cache.reserve(len(self.ids))
        yield
        for at in range(self.cached_tokens, len(self.ids) - 1, PREFILL_STEP_TOKENS):
            self.stop_reason = self._should_stop()
            if self.stop_reason is not None:
                return
            step = self.ids[at : min(at + PREFILL_STEP_TOKENS, len(self.ids) - 1)]
            known_rows = len(self.tokens) - 1 - at
            for row in self._model.forward(step, self._cache, rows=max(0, len(step) - known_rows)):
                self.tokens.append(scored(self.ids[len(self.tokens)], row, self._top_logprobs))
            yield
