"""One model, one queue: ids in, text out, with the facts that a receipt needs.

Answers are made one after another: two at once would each be half as fast and compete for the one warm cache.
Knows no messages, sessions or OpenAI names.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

from handler.chat.budget import Budget, Caller, Clock
from handler.chat.speed import Speed
from handler.engine.engine import Engine
from handler.engine.generate import Generation
from handler.engine.sampling import SamplingParams
from handler.engine.text import TextStream
from handler.engine.values import Piece, StopReason, Token
from handler.errors import DeadlineTooShort, Unavailable


@dataclass(frozen=True)
class Job:
    """What is to be generated, and how."""

    prompt_ids: Sequence[int]
    params: SamplingParams
    max_tokens: int | None = None  # 0: nothing, the prompt is only to be scored
    stop: tuple[str, ...] = ()
    top_logprobs: int | None = None
    is_text: bool = False  # no conversation: the answer's text goes on with the prompt's
    echo: str | None = None  # the prompt's text, to be said first, scored where log-probabilities are asked
    prior_tokens: int = 0  # so many ids at the end of the prompt are the beginning of this very answer
    begun_on: str | None = None  # the instruction set that this beginning was computed on
    repeats: bool = False  # another choice for the prompt of the job before it
    resumable: bool = False  # keep back what is not certain yet when the answer is cut

    @property
    def is_scored(self) -> bool:
        """Whether the prompt's own log-probabilities are asked for."""
        return self.echo is not None and self.top_logprobs is not None


class Run:
    """One answer under way: iterate over it once; its facts are whole when the iteration has ended."""

    def __init__(self, job: Job, pieces: Generator[Piece, None, None] | None = None) -> None:
        self.job = job
        self.stop_reason: StopReason = "cancelled"
        self.prompt_tokens = len(job.prompt_ids)
        self.cached_tokens = 0
        self.output_ids: list[int] = []
        self.ending: tuple[Token, ...] = ()  # the end-of-sequence token, if it came; it has no text
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
        self._reading, self._scoring = Speed(), Speed()

    def budget(self, caller: Caller) -> Budget:
        """Start the time that an answer may take, on the clock that it is measured by."""
        return Budget(caller, self._clock)

    def run(self, job: Job, budget: Budget) -> Run:
        """Prepare an answer; nothing is computed before the first piece is asked for."""
        run = Run(job)
        run._pieces = self._pieces(run, budget)
        budget.caller.runs.append(run)
        return run

    def check_time(self, prompt_tokens: int, budget: Budget, *, scored: bool = False) -> None:
        """Refuse at once what cannot even be read in the time there is, as far as the speed so far tells, and
        what the day has no tokens for.

        Raises: DeadlineTooShort; QuotaExceeded.
        """
        if budget.caller.allowance is not None:
            budget.caller.allowance.check()
        speed = self._scoring if scored else self._reading
        needed_s = speed.needed_s(prompt_tokens - self._warm_tokens)  # at best all that is warm is of use
        if needed_s is not None and needed_s > budget.remaining_s():
            raise DeadlineTooShort(prompt_tokens, needed_s, budget.remaining_s())

    def _pieces(self, run: Run, budget: Budget) -> Generator[Piece, None, None]:
        if not self._lock.acquire(timeout=budget.remaining_s()):
            raise Unavailable("The model is busy with another request; try again in a moment.", code="busy")
        try:
            run.cold, self._cold = self._cold, False
            yield from self._answer(run, budget)
        finally:
            self._lock.release()

    def _answer(self, run: Run, budget: Budget) -> Generator[Piece, None, None]:
        job = run.job
        if job.echo is not None:
            yield Piece(job.echo, self._score(run, budget) if job.is_scored else ())
        if job.max_tokens == 0:
            run.stop_reason = "length"
            return
        yield from self._generate(run, budget)
        if job.is_scored and run.stop_reason == "deadline" and not run.output_ids:
            raise DeadlineTooShort(run.prompt_tokens, None, budget.caller.limit_s)

    def _score(self, run: Run, budget: Budget) -> tuple[Token, ...]:
        """Score a prompt whole: who sums scores up would take a part of them for all."""
        started, allowed_s = self._clock(), budget.remaining_s()
        scoring = self.engine.score(
            run.job.prompt_ids, top_logprobs=run.job.top_logprobs or 0, should_stop=budget.should_stop
        )
        tokens = tuple(scoring)
        run.cached_tokens = scoring.cached_tokens
        self._warm_tokens = len(scoring.tokens) - 1
        taken_s, fresh = self._clock() - started, len(tokens) - 1 - scoring.cached_tokens
        run.prefill_ms += taken_s * 1000
        self._scoring.learn(fresh, taken_s)
        if scoring.stop_reason is not None:
            needed_s = taken_s * (run.prompt_tokens - 1 - scoring.cached_tokens) / fresh if fresh else None
            raise DeadlineTooShort(run.prompt_tokens, needed_s, allowed_s)
        return tokens

    def _generate(self, run: Run, budget: Budget) -> Generator[Piece, None, None]:
        job = run.job
        started = self._clock()
        generation = self.engine.generate(
            job.prompt_ids,
            job.params,
            max_tokens=job.max_tokens,
            should_stop=budget.should_stop,
            top_logprobs=job.top_logprobs,
        )
        if not job.is_scored:
            run.cached_tokens = generation.cached_tokens
        stopwatch = _Stopwatch(generation, self._clock)
        prior = job.prompt_ids[len(job.prompt_ids) - job.prior_tokens :]
        text = TextStream(
            stopwatch,
            self.engine.tokenizer,
            job.stop,
            prior=prior,
            following=job.prompt_ids if job.is_text else (),
            resumable=job.resumable,
        )
        try:
            yield from text
        finally:
            generation.close()
            run.output_ids = generation.output_ids
            run.ending = generation.ending
            self._warm_tokens = len(generation.ids)
            ended = self._clock()
            first = stopwatch.first_s or ended
            run.prefill_ms += (first - started) * 1000
            run.decode_ms = (ended - first) * 1000
            run.stop_reason = text.stop_reason or "cancelled"
            if run.output_ids and not job.is_scored:
                self._reading.learn(run.prompt_tokens - run.cached_tokens, first - started)


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
