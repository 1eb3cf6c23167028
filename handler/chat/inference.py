"""An answer as the model makes it: ids in, text out, with the facts that a receipt needs.

Knows no messages, sessions or OpenAI names.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import islice

from handler.chat.budget import Budget, Caller, Clock, Closing, Margin
from handler.chat.model_queue import ModelQueue
from handler.chat.pace import Pace
from handler.chat.parts import Read
from handler.chat.run import Job, Run
from handler.engine.call_stream import CallStream
from handler.engine.certainty import certainties
from handler.engine.engine import Engine
from handler.engine.generate import PREFILL_STEP_TOKENS, Generation
from handler.engine.text import TextStream
from handler.engine.values import Piece, StopReason, Token
from handler.engine.warm import WarmSlot
from handler.errors import RequestError, Unavailable

EXPLAINED_TOKENS = 256  # of an answer; each part costs as many and a prompt
OUT_OF_TIME = ("deadline_too_short", "busy", "stopping")


class Inference:
    """Makes answers of jobs, and knows how long that takes here."""

    def __init__(self, engine: Engine, clock: Clock = time.monotonic, *, margin_s: float = 0.0) -> None:
        self.engine = engine
        self._clock = clock
        self._margin = Margin(margin_s)
        self._closing = Closing()
        self._reading, self._scoring = Pace(lambda: engine.prefill_tokens_per_s), Pace()
        self._queue = ModelQueue(engine)

    def budget(self, caller: Caller) -> Budget:
        """Start the time that an answer may take, on the clock that it is measured by, less the margin."""
        return Budget(caller, self._clock, self._margin.of(caller.limit_s), self._closing)

    def end(self, limit_s: float) -> None:
        """Let no answer, begun or to come, go on for longer than this from now; any thread may say so."""
        self._closing.at_s = min(self._closing.at_s, self._clock() + limit_s)

    def run(self, job: Job, budget: Budget, *, follows: bool = False) -> Run:
        """Prepare an answer; nothing is computed before the first piece is asked for.

        One that `follows` others of its request ends where there is no time for it: theirs must not be lost.
        """
        run = Run(job, lambda run: self._pieces(run, budget), follows=follows)
        budget.caller.runs.append(run)
        return run

    def check_time(self, prompt_tokens: int, budget: Budget, *, scored: bool = False) -> None:
        """Refuse at once what cannot even be read in the time there is, as far as the speed so far tells, and
        what the day has no tokens for.

        Raises: DeadlineTooShort; QuotaExceeded.
        """
        if (allowance := budget.caller.allowance()) is not None:
            allowance.check()
        pace = self._scoring if scored else self._reading
        warm = self._queue.warm_tokens(budget.caller.tenant)
        self._judge(pace, prompt_tokens - warm, prompt_tokens, budget)  # at best all is of use

    def explain(self, run: Run, budget: Budget) -> Iterator[None]:
        """Read a finished answer again, whole and without each of its parts, while there is time.

        A None is a sign of life. The answer stays as it is, and the conversation stays warm.
        """
        if run.job.parts is None:
            return
        started = self._clock()
        run.read = read = Read([None] * len(run.job.parts))
        try:
            yield from self._queue.alone(run, budget, self._read_again(run, read, budget))
        except Unavailable:  # others had the model until the time was over: what is missing says so
            return
        finally:
            read.ms = (self._clock() - started) * 1000

    def handed_over(self, run: Run, budget: Budget) -> None:
        """An answer has been kept and is with the client: so long took what the margin is for."""
        self._margin.learn(self._clock() - min(run.ended_s, budget.until_s))

    def _judge(
        self, pace: Pace, left: int, prompt_tokens: int, budget: Budget, *, refuses: bool = True
    ) -> None:
        needed_s = pace.needed_s(left)
        if needed_s > budget.remaining_s():
            if refuses:  # not a hundred times for the choices of one request
                pace.doubt()
            raise budget.too_short(prompt_tokens, needed_s, budget.remaining_s())

    def _pieces(self, run: Run, budget: Budget) -> Generator[Piece, None, None]:
        job = run.job
        try:
            yield Piece("")  # a sign of life before anything that takes time
            if job.echo is not None:
                yield from self._echoed(run, budget)
            if job.max_tokens == 0:
                run.stop_reason = "length"
                return
            yield from self._said(run, budget)
            if job.is_scored and run.stop_reason == "deadline" and not run.output_ids:
                raise budget.too_short(run.prompt_tokens, None, budget.allowed_s)
        except RequestError as error:
            if not run.follows or job.is_scored or error.error_code not in OUT_OF_TIME:
                raise
            run.stop_reason = "deadline"
            run.prompt_tokens = run.cached_tokens = 0  # it was not read
        finally:
            run.ended_s = self._clock()

    def _echoed(self, run: Run, budget: Budget) -> Iterator[Piece]:
        scores: list[Token] = []
        if run.job.is_scored:
            for _ in self._queue.alone(run, budget, self._score(run, budget, scores)):
                yield Piece("")
        yield Piece(run.job.echo or "", tuple(scores))

    def _said(self, run: Run, budget: Budget) -> Iterator[Piece]:
        job = run.job
        text = TextStream(
            _Source(self._tokens(run, budget), run),
            self.engine.tokenizer,
            job.stop if job.calls is None else (),
            prior=job.prior_ids,
            following=job.prompt_ids if job.is_text else (),
            resumable=job.resumable,
        )
        pieces = text if job.calls is None else CallStream(text, job.calls, job.stop)
        try:
            yield from pieces
        finally:
            pieces.close()
            run.untold = tuple(pieces.untold())
            run.stop_reason = pieces.stop_reason or "cancelled"

    def _tokens(self, run: Run, budget: Budget) -> Generator[Token | None, None, None]:
        yield from map(Token, run.job.retold_ids)
        yield from self._queue.alone(run, budget, self._generate(run, budget))

    def _score(self, run: Run, budget: Budget, scores: list[Token]) -> Iterator[None]:
        """Score a prompt whole: who sums scores up would take a part of them for all."""
        started, allowed_s, reader_s = self._clock(), budget.remaining_s(), 0.0
        scoring = self.engine.score(
            run.job.prompt_ids, top_logprobs=run.job.top_logprobs or 0, should_stop=budget.should_stop
        )
        run.cached_tokens = scoring.cached_tokens
        with closing(iter(scoring)) as tokens:
            while step := tuple(islice(tokens, PREFILL_STEP_TOKENS)):
                scores += step
                told = self._clock()
                yield None
                reader_s += self._clock() - told
        taken_s, fresh = self._clock() - started - reader_s, len(scores) - 1 - scoring.cached_tokens
        run.prefill_ms += (taken_s + reader_s) * 1000
        self._scoring.learn(fresh, taken_s)
        if scoring.stop_reason is not None:
            needed_s = taken_s * (run.prompt_tokens - 1 - scoring.cached_tokens) / fresh if fresh else None
            raise budget.too_short(run.prompt_tokens, needed_s, allowed_s)

    def _generate(self, run: Run, budget: Budget) -> Iterator[Token | None]:
        job = run.job
        started, reader_s = self._clock(), 0.0
        generation = self.engine.generate(
            job.prompt_ids,
            job.params,
            max_tokens=job.max_tokens,
            should_stop=budget.should_stop,
            top_logprobs=job.top_logprobs,
            grammar=job.grammar,
            prior_tokens=job.prior_tokens,
        )
        if not job.is_scored:
            run.cached_tokens = generation.cached_tokens
        first: float | None = None
        try:
            reader_s = yield from self._prefill(generation, budget, refuses=not run.follows)
            tokens = iter(generation)
            for token in islice(tokens, 1):  # the clock is not looked at for the others
                first = self._clock()
                yield token
            yield from tokens
        finally:
            generation.close()
            run.output_ids, run.stop_reason = generation.output_ids, generation.stop_reason or "cancelled"
            run.ending = generation.ending
            ended = self._clock()
            first = first or ended
            run.prefill_ms += (first - started) * 1000
            run.decode_ms = (ended - first) * 1000
            if run.output_ids and not job.is_scored:
                self._reading.learn(run.prompt_tokens - run.cached_tokens, first - started - reader_s)

    def _read_again(self, run: Run, read: Read, budget: Budget) -> Iterator[None]:
        """The parts nearest to the answer first."""
        model, job, answer = self.engine.model, run.job, run.output_ids[:EXPLAINED_TOKENS]
        if not answer or job.parts is None:
            return
        found = certainties(model, self.engine.warm, job.prompt_ids, answer, budget.should_stop)
        read.certainties = found or ()
        scratch = WarmSlot(model.new_cache)
        for at, part in reversed(list(enumerate(job.parts))):
            if found is None:
                return
            yield None
            # Without a system message a template may write a longer one of its own.
            if part.prompt_ids and len(part.prompt_ids) + len(answer) <= model.context_tokens:
                found = certainties(model, scratch, part.prompt_ids, answer, budget.should_stop)
                read.without[at] = None if found is None else sum(one.logprob for one in found)

    def _prefill(
        self, generation: Generation, budget: Budget, *, refuses: bool
    ) -> Generator[None, None, float]:
        """Compute the prompt step by step; stop as soon as the steps tell that the time will not do.

        Returns the seconds that whoever reads the signs of life took for it. Raises: DeadlineTooShort.
        """
        left, before = generation.prompt_tokens - generation.cached_tokens, self._clock()
        reader_s = 0.0
        if left > PREFILL_STEP_TOKENS:  # now it is known what is warm, and what the queue took
            self._judge(self._reading, left, generation.prompt_tokens, budget, refuses=refuses)
        for step, now_left in enumerate(generation.prefill()):
            now = self._clock()
            if step:  # the first one also fetches the weights, in a process that has just begun
                self._reading.learn(left - now_left, now - before)
                self._judge(self._reading, now_left, generation.prompt_tokens, budget, refuses=refuses)
            yield None
            left, before = now_left, self._clock()
            reader_s += before - now
        return reader_s


class _Source:
    """A run's tokens as a text stream takes them."""

    def __init__(self, tokens: Generator[Token | None, None, None], run: Run) -> None:
        self._tokens, self._run = tokens, run

    @property
    def stop_reason(self) -> StopReason | None:
        return self._run.stop_reason

    def close(self) -> None:
        self._tokens.close()

    def __iter__(self) -> Iterator[Token | None]:
        return self._tokens
