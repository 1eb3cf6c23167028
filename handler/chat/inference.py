"""One model, one queue: ids in, text out, with the facts that a receipt needs.

Answers are made one after another: two at once would each be half as fast and compete for the one warm cache.
Knows no messages, sessions or OpenAI names.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from handler.chat.budget import Budget, Clock, Margin
from handler.chat.pace import Pace
from handler.engine.engine import Engine
from handler.engine.generate import PREFILL_STEP_TOKENS, Generation
from handler.engine.sampling import SamplingParams
from handler.engine.text import TextStream
from handler.engine.values import Piece, StopReason, Token
from handler.errors import DeadlineTooShort, Unavailable

QUEUE_LOOK_S = 1.0  # whoever waits for the model shows a sign of life this often


@dataclass(frozen=True)
class Job:
    """What is to be generated, and how."""

    prompt_ids: Sequence[int]
    params: SamplingParams
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    top_logprobs: int | None = None
    prior_tokens: int = 0  # so many ids at the end of the prompt are the beginning of this very answer
    retold_tokens: int = 0  # and the last so many of them are told again, before the new ones
    begun_on: str | None = None  # the instruction set that this beginning was computed on
    resumable: bool = False  # keep back what is not certain yet when the answer is cut

    @property
    def prior_ids(self) -> Sequence[int]:
        """The beginning of the answer, as far as it is not told again."""
        begin = len(self.prompt_ids) - self.prior_tokens
        return self.prompt_ids[begin : len(self.prompt_ids) - self.retold_tokens]

    @property
    def retold_ids(self) -> Sequence[int]:
        """The ids that are told again."""
        return self.prompt_ids[len(self.prompt_ids) - self.retold_tokens :]


class Run:
    """One answer under way: iterate over it once; its facts are whole when the iteration has ended.

    Pieces without text and tokens are signs of life: the model is busy, or the prompt is being computed.
    """

    def __init__(self, job: Job, pieces: Generator[Piece, None, None] | None = None) -> None:
        self.job = job
        self.stop_reason: StopReason = "cancelled"
        self.prompt_tokens = len(job.prompt_ids)
        self.cached_tokens = 0
        self.output_ids: list[int] = []
        self.untold: tuple[Token, ...] = ()  # tokens that came and were in no piece when it was closed
        self.prefill_ms = 0.0
        self.decode_ms = 0.0
        self.cold = False
        self.ended_s = 0.0
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

    def __init__(self, engine: Engine, clock: Clock = time.monotonic, *, margin_s: float = 0.0) -> None:
        self.engine = engine
        self._clock = clock
        self._margin = Margin(margin_s)
        self._pace = Pace(engine)
        self._lock = threading.Lock()  # not re-entrant: a stream may be begun and ended by different threads
        self._cold = True
        self._warm_tokens = 0

    def budget(self, limit_s: float) -> Budget:
        """Start the time that an answer may take, on the clock that it is measured by, less the margin."""
        return Budget(max(0.0, limit_s - self._margin.of(limit_s)), self._clock)

    def run(self, job: Job, budget: Budget) -> Run:
        """Prepare an answer; nothing is computed before the first piece is asked for."""
        run = Run(job)
        run._pieces = self._pieces(run, budget)
        return run

    def check_time(self, prompt_tokens: int, budget: Budget) -> None:
        """Refuse at once what cannot even be read in the time there is, as far as the speed so far tells.

        Raises: DeadlineTooShort.
        """
        self._judge(prompt_tokens - self._warm_tokens, prompt_tokens, budget)  # at best all warm is of use

    def handed_over(self, run: Run, budget: Budget) -> None:
        """An answer has been kept and is with the client: so long took what the margin is for."""
        self._margin.learn(self._clock() - min(run.ended_s, budget.until_s))

    def _judge(self, left: int, prompt_tokens: int, budget: Budget) -> None:
        needed_s = self._pace.needed_s(left)
        if needed_s > budget.remaining_s():
            self._pace.doubt()
            raise DeadlineTooShort(prompt_tokens, needed_s, budget.remaining_s())

    def _pieces(self, run: Run, budget: Budget) -> Generator[Piece, None, None]:
        job = run.job
        source = _Source(self._tokens(run, budget), run)
        text = TextStream(
            source, self.engine.tokenizer, job.stop, prior=job.prior_ids, resumable=job.resumable
        )
        try:
            yield from text
        finally:
            text.close()
            run.untold = text.waiting
            run.stop_reason = text.stop_reason or "cancelled"

    def _tokens(self, run: Run, budget: Budget) -> Generator[Token | None, None, None]:
        yield None  # a sign of life before anything that takes time
        yield from map(Token, run.job.retold_ids)
        while not self._lock.acquire(timeout=min(QUEUE_LOOK_S, budget.remaining_s())):
            if budget.should_stop() == "cancelled":
                return
            if not budget.remaining_s():
                raise Unavailable(
                    "The model is busy with another request; try again in a moment.", code="busy"
                )
            yield None
        try:
            yield from self._generate(run, budget)
        finally:
            self._lock.release()

    def _generate(self, run: Run, budget: Budget) -> Generator[Token | None, None, None]:
        job = run.job
        started = self._clock()
        generation = self.engine.generate(
            job.prompt_ids,
            job.params,
            max_tokens=job.max_tokens,
            should_stop=budget.should_stop,
            top_logprobs=job.top_logprobs,
        )
        run.cached_tokens = generation.cached_tokens
        run.cold, self._cold = self._cold, False
        first: float | None = None
        try:
            yield from self._prefill(generation, budget)
            tokens = iter(generation)
            for token in islice(tokens, 1):  # the clock is not looked at for the others
                first = self._clock()
                yield token
            yield from tokens
        finally:
            generation.close()
            self._warm_tokens = self.engine.warm.tokens
            run.output_ids, run.stop_reason = generation.output_ids, generation.stop_reason or "cancelled"
            run.ended_s = self._clock()
            first = first or run.ended_s
            run.prefill_ms, run.decode_ms = (first - started) * 1000, (run.ended_s - first) * 1000
            if run.output_ids:
                self._pace.learn(run.prompt_tokens - run.cached_tokens, first - started)

    def _prefill(self, generation: Generation, budget: Budget) -> Iterator[None]:
        """Compute the prompt step by step; stop as soon as the steps tell that the time will not do.

        Raises: DeadlineTooShort.
        """
        left, before = generation.prompt_tokens - generation.cached_tokens, self._clock()
        if left > PREFILL_STEP_TOKENS:  # now it is known what is warm, and what the queue took
            self._judge(left, generation.prompt_tokens, budget)
        for step, now_left in enumerate(generation.prefill()):
            now = self._clock()
            if step:  # the first one also fetches the weights, in a process that has just begun
                self._pace.learn(left - now_left, now - before)
                self._judge(now_left, generation.prompt_tokens, budget)
            yield None
            left, before = now_left, self._clock()  # whoever listens may have taken its time


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
