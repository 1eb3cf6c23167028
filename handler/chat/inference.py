"""One model, one queue: ids in, text out, with the facts that a receipt needs.

Answers are made one after another: two at once would each be half as fast and compete for the one warm cache.
Knows no messages, sessions or OpenAI names.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

from handler.chat.budget import Budget, Clock
from handler.engine.engine import Engine
from handler.engine.generate import Generation
from handler.engine.grammar import Grammar
from handler.engine.sampling import SamplingParams
from handler.engine.text import TextStream
from handler.engine.values import Piece, StopReason, Token
from handler.errors import DeadlineTooShort, Unavailable


@dataclass(frozen=True)
class Job:
    """What is to be generated, and how."""

    prompt_ids: Sequence[int]
    params: SamplingParams
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    top_logprobs: int | None = None
    prior_tokens: int = 0  # so many ids at the end of the prompt are the beginning of this very answer
    begun_on: str | None = None  # the instruction set that this beginning was computed on
    grammar: Grammar | None = None  # what the answer has to follow
    resumable: bool = False  # keep back what is not certain yet when the answer is cut


class Run:
    """One answer under way: iterate over it once; its facts are whole when the iteration has ended."""

    def __init__(self, job: Job, pieces: Generator[Piece, None, None] | None = None) -> None:
        self.job = job
        self.stop_reason: StopReason = "cancelled"
        self.prompt_tokens = len(job.prompt_ids)
        self.cached_tokens = 0
        self.output_ids: list[int] = []
        self.prefill_ms = 0.0
        self.decode_ms = 0.0
        self.cold = False
        self._pieces = pieces

    def __iter__(self) -> Iterator[Piece]:
        assert self._pieces is not None
        return self._pieces

    def close(self) -> None:
        """Stop generating; the model is free for the next request."""
        if self._pieces is not None:
            self._pieces.close()


class Inference:
    """The model's one queue."""

    def __init__(self, engine: Engine, clock: Clock = time.monotonic) -> None:
        self.engine = engine
        self._clock = clock
        self._lock = threading.Lock()  # not re-entrant: a stream may be begun and ended by different threads
        self._cold = True
        self._warm_tokens = 0
        self._prefill_tokens_per_s: float | None = None

    def budget(self, limit_s: float) -> Budget:
        """Start the time that an answer may take, on the clock that it is measured by."""
        return Budget(limit_s, self._clock)

    def run(self, job: Job, budget: Budget) -> Run:
        """Prepare an answer; nothing is computed before the first piece is asked for."""
        run = Run(job)
        run._pieces = self._pieces(run, budget)
        return run

    def check_time(self, prompt_tokens: int, budget: Budget) -> None:
        """Refuse at once what cannot even be read in the time there is, as far as the speed so far tells.

        Raises: DeadlineTooShort.
        """
        speed = self._prefill_tokens_per_s
        fresh = prompt_tokens - self._warm_tokens  # at best all that is warm is of use
        if speed and fresh > 0 and fresh / speed > budget.remaining_s():
            raise DeadlineTooShort(prompt_tokens, fresh / speed, budget.remaining_s())

    def _pieces(self, run: Run, budget: Budget) -> Generator[Piece, None, None]:
        if not self._lock.acquire(timeout=budget.remaining_s()):
            raise Unavailable("The model is busy with another request; try again in a moment.", code="busy")
        try:
            yield from self._generate(run, budget)
        finally:
            self._lock.release()

    def _generate(self, run: Run, budget: Budget) -> Generator[Piece, None, None]:
        job = run.job
        started = self._clock()
        generation = self.engine.generate(
            job.prompt_ids,
            job.params,
            max_tokens=job.max_tokens,
            should_stop=budget.should_stop,
            top_logprobs=job.top_logprobs,
            grammar=job.grammar,
            prior_tokens=job.prior_tokens,
        )
        run.cached_tokens = generation.cached_tokens
        run.cold, self._cold = self._cold, False
        stopwatch = _Stopwatch(generation, self._clock)
        prior = job.prompt_ids[len(job.prompt_ids) - job.prior_tokens :]
        text = TextStream(stopwatch, self.engine.tokenizer, job.stop, prior=prior, resumable=job.resumable)
        try:
            yield from text
        finally:
            generation.close()
            run.output_ids = generation.output_ids
            self._warm_tokens = len(generation.ids)
            ended = self._clock()
            first = stopwatch.first_s or ended
            run.prefill_ms, run.decode_ms = (first - started) * 1000, (ended - first) * 1000
            run.stop_reason = text.stop_reason or "cancelled"
            self._learn_speed(run, first - started)

    def _learn_speed(self, run: Run, prefill_s: float) -> None:
        fresh = run.prompt_tokens - run.cached_tokens
        if (
            run.output_ids and fresh >= 32 and prefill_s > 0
        ):  # below that, fixed costs would be taken for slowness
            seen = fresh / prefill_s
            known = self._prefill_tokens_per_s
            self._prefill_tokens_per_s = seen if known is None else max(seen, 0.5 * (known + seen))


class _Stopwatch:
    """Notes when the first token came, without looking at the clock for the others."""

    def __init__(self, source: Generation, clock: Clock) -> None:
        self.first_s: float | None = None
        self._source, self._clock = source, clock

    @property
    def stop_reason(self) -> StopReason | None:
        return self._source.stop_reason

    def close(self) -> None:
        self._source.close()

    def __iter__(self) -> Iterator[Token]:
        for token in self._source:
            if self.first_s is None:
                self.first_s = self._clock()
            yield token
