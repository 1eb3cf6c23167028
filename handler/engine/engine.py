"""The engine: a loaded model, its prompt and its tokenizer, and how one answer is made of them.

Usable alone as a library. Knows no HTTP, no AWS, no sessions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from handler.engine.bundle import Manifest
from handler.engine.generate import (
    PREFILL_STEP_TOKENS,
    Draft,
    Ends,
    Generation,
    Model,
    ShouldStop,
    generate,
)
from handler.engine.lookup import PromptLookup
from handler.engine.prompt import ChatPrompt, Tools
from handler.engine.sampling import SamplingParams, make_sampler, sampling_params
from handler.engine.steps import USUAL, StepCosts
from handler.engine.template import Message
from handler.engine.text import TextStream
from handler.engine.warm import WarmSlot
from handler.errors import ContextOverflow, InvalidRequest

if TYPE_CHECKING:
    from handler.engine.compiler import GrammarCompiler
    from handler.engine.grammar import Grammar
    from handler.engine.score import Scores, Scoring

MEASURED_AFTER_TOKENS = 64  # rows are timed behind so many places of the cache
MEASURED_PASSES = 3


class Engine:
    """One model, ready to answer; it keeps the latest conversation's keys and values warm."""

    def __init__(
        self,
        manifest: Manifest,
        model: Model,
        prompt: ChatPrompt,
        tokenizer: Any,
        *,
        exact: bool = True,
        card: str | None = None,
    ) -> None:
        self.exact = exact  # answers do not depend on what is cached, guessed, or cut
        self.manifest, self.model, self.prompt, self.tokenizer = manifest, model, prompt, tokenizer
        self.card = card  # what the bundle tells people of the model, in Markdown
        self.warm = WarmSlot(model.new_cache)
        self.step_costs = USUAL  # until they are measured
        self.prefill_tokens_per_s: float | None = None  # the same
        self._scored: Scores | None = None  # what the last scoring said

    @cached_property
    def grammars(self) -> GrammarCompiler:
        """What makes grammars ready for this model; only the first request with one pays for it."""
        from handler.engine.compiler import GrammarCompiler

        return GrammarCompiler(self.manifest, self.tokenizer)

    def measure_steps(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """Time calls of every row count in the table, and a step of prefill.

        Drafts are as long as it pays here from then on, and it is known how long a prompt will take. Takes as
        long as some thirty tokens, therefore only where starting may take time.

        Raises: Unavailable when the model fails.
        """
        cache, filled = self.model.new_cache(), [0] * MEASURED_AFTER_TOKENS
        if len(filled) + USUAL.rows[-1] > self.model.context_tokens:
            return
        self.model.forward(filled, cache, rows=0)
        best = dict.fromkeys(USUAL.rows, float("inf"))
        for _ in range(MEASURED_PASSES):
            for rows in USUAL.rows:
                cache.truncate(len(filled))
                start = clock()
                self.model.forward([0] * rows, cache, rows=rows)
                best[rows] = min(best[rows], clock() - start)
        self.step_costs = StepCosts(tuple(best), tuple(best.values()))
        step = min(PREFILL_STEP_TOKENS, self.model.context_tokens - len(filled))
        cache.truncate(len(filled))
        start = clock()
        self.model.forward([0] * step, cache, rows=0)
        self.prefill_tokens_per_s = step / max(clock() - start, 1e-9)

    def forget(self) -> None:
        """Let go of what answers and scorings have left: the next ones begin as in a new engine."""
        self.warm.forget()
        self._scored = None

    def params(self, **sampling: Any) -> SamplingParams:
        """Merge the bundle's generation defaults with what the caller gave; draws a seed where none is given.

        Raises: InvalidRequest for an unknown name or a value out of range.
        """
        return sampling_params(self.manifest.generation, **sampling)

    def generate(
        self,
        prompt_ids: Sequence[int],
        params: SamplingParams,
        *,
        max_tokens: int | None = None,
        should_stop: ShouldStop = lambda: None,
        top_logprobs: int | None = None,
        speculate: bool = True,
        grammar: Grammar | None = None,
        prior_tokens: int = 0,
    ) -> Generation:
        """Answer ids with ids, reusing what the warm cache shares with them; a `grammar` is followed.

        To take up an answer that was cut short, give prompt and answer so far, how many ids at the end are
        the answer so far (`prior_tokens`), and the same seed.

        Raises: InvalidRequest, ContextOverflow.
        """
        answer_from = len(prompt_ids) - prior_tokens
        sampler = make_sampler(params, answer_from)
        draft: Draft | None = PromptLookup(self.step_costs) if speculate and self.manifest.exact else None
        ends: Ends | None = None
        if grammar is not None:
            constraint = self.grammars.constraint(grammar, answer_from)
            sampler, ends = constraint.sampler(sampler), constraint.ends
            draft = constraint.draft(draft) if draft is not None else None
        cache = self.warm.take(prompt_ids)
        try:
            return generate(
                self.model,
                cache,
                prompt_ids,
                sampler,
                eos=self.manifest.tokens.eos,
                max_tokens=max_tokens,
                should_stop=should_stop,
                draft=draft,
                top_logprobs=top_logprobs,
                ends=ends,
                on_end=lambda generation: self.warm.put(cache, generation.ids),
            )
        except Exception:
            self.warm.put(cache, prompt_ids)
            raise

    def score(
        self, prompt_ids: Sequence[int], *, top_logprobs: int = 0, should_stop: ShouldStop = lambda: None
    ) -> Scoring:
        """Tell how likely each id of a prompt is, reusing what scores and cache hold of it.

        Raises: InvalidRequest, ContextOverflow.
        """
        from handler.engine.score import Scores, Scoring  # no first token of an answer waits for it

        if not prompt_ids:
            raise InvalidRequest("The prompt is empty.", param="prompt")
        if len(prompt_ids) > self.model.context_tokens:
            raise ContextOverflow(
                f"The prompt has {len(prompt_ids)} tokens; the model's context is "
                f"{self.model.context_tokens} tokens.",
                param="prompt",
            )
        known = self._scored.of(prompt_ids, top_logprobs) if self._scored else ()
        cache = self.warm.take(prompt_ids)

        def keep(scoring: Scoring) -> None:
            self._scored = Scores(scoring.ids, scoring.tokens, top_logprobs)
            self.warm.put(cache, scoring.ids)

        return Scoring(
            self.model,
            cache,
            prompt_ids,
            known=known,
            top_logprobs=top_logprobs,
            should_stop=should_stop,
            on_end=keep,
        )

    def chat(
        self,
        messages: Sequence[Message],
        *,
        tools: Tools | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        should_stop: ShouldStop = lambda: None,
        grammar: Grammar | None = None,
        **sampling: Any,
    ) -> TextStream:
        """Answer a conversation; iterate over the stream for its pieces of text.

        Raises: InvalidRequest, ContextOverflow.
        """
        ids = self.prompt.encode(messages, tools=tools)
        params = self.params(**sampling)
        tokens = self.generate(ids, params, max_tokens=max_tokens, should_stop=should_stop, grammar=grammar)
        return TextStream(tokens, self.tokenizer, stop)
