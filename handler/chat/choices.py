"""A stateless answer: one run after the other, one choice each, and what is told of them all.

Owns the loop over the jobs, finish reasons, usage, the receipt's place and how choices become chunks. Knows
no endpoint's fields: an endpoint says how a request becomes jobs, and by its `Shape` how a run becomes a
choice, or the parts of one.
"""

from __future__ import annotations

import dataclasses
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from handler.chat.budget import Budget, Caller
from handler.chat.explanation import explanation_of
from handler.chat.inference import Inference
from handler.chat.receipt import Till
from handler.chat.run import Job, Run
from handler.schema.chat_completions import (
    ChatCompletionRequest,
    CompletionUsage,
    FinishReason,
    PromptTokensDetails,
)
from handler.schema.completions import CompletionRequest
from handler.schema.extras import Dormouse

Q = TypeVar("Q", bound=ChatCompletionRequest | CompletionRequest)
A = TypeVar("A", bound=BaseModel)
C = TypeVar("C", bound=BaseModel)


@dataclass(frozen=True)
class Shape(Generic[A, C]):
    """How an endpoint writes: `choice` iterates over the whole run, `parts` gives what is new, as it comes.

    The last part of a choice, and no other, has a `finish_reason`; a None is a sign of life.
    """

    prefix: str
    answer: type[A]
    chunk: type[C]
    choice: Callable[[int, Run], Any]
    parts: Callable[[int, Run], Iterator[Any | None]]


@dataclass(frozen=True)
class Frame:
    """Makes answers of jobs."""

    inference: Inference
    till: Till
    fingerprint: str
    now_s: Callable[[], float]

    def answer(self, shape: Shape[A, C], jobs: Sequence[Job], budget: Budget) -> A:
        """Answer whole, unless nobody waits any more: nothing is kept of it. Raises: RequestError."""
        budget.caller.when_abandoned(budget.cancel)
        runs = self._runs(jobs, budget)
        choices = [shape.choice(index, run) for index, run in enumerate(runs)]
        for _ in self.inference.explain(runs[-1], budget):
            pass
        facts = self._facts(runs, budget)
        self.inference.handed_over(runs[-1], budget)
        return shape.answer(**self._head(shape), choices=choices, usage=usage_of(runs), dormouse=facts)

    def stream(
        self, shape: Shape[A, C], jobs: Sequence[Job], budget: Budget, *, include_usage: bool
    ) -> Iterator[C | None]:
        """Answer chunk by chunk; the last one with a choice carries the facts. A None is a sign of life.

        Raises: RequestError.
        """
        head = self._head(shape)
        runs = self._runs(jobs, budget)
        facts: Dormouse | None = None
        for index, run in enumerate(runs):
            try:
                for part in shape.parts(index, run):
                    if part is None:
                        yield None
                        continue
                    is_last = part.finish_reason is not None and run is runs[-1]
                    if is_last:
                        yield from self.inference.explain(run, budget)
                        facts = self._facts(runs, budget)
                    yield shape.chunk(**head, choices=[part], dormouse=facts)
            except GeneratorExit:  # the client hung up: nobody but the operator hears what was made
                run.close()
                if facts is None and any(each.output_ids for each in runs):
                    self.till.facts(runs[: index + 1], budget)
                raise
            finally:
                run.close()
        if include_usage:
            yield shape.chunk(**head, choices=[], usage=usage_of(runs))

    def _runs(self, jobs: Sequence[Job], budget: Budget) -> list[Run]:
        return [self.inference.run(job, budget, follows=at > 0) for at, job in enumerate(jobs)]

    def _facts(self, runs: Sequence[Run], budget: Budget) -> Dormouse:
        facts = self.till.facts(runs, budget)
        facts.explanation = explanation_of(self.inference.engine, runs[-1], stored=False)
        return facts

    def _head(self, shape: Shape[A, C]) -> dict[str, Any]:
        return {
            "id": shape.prefix + secrets.token_hex(12),
            "created": int(self.now_s()),
            "model": self.inference.engine.manifest.name,
            "system_fingerprint": self.fingerprint,
        }


@dataclass(frozen=True)
class Stateless(ABC, Generic[Q, A, C]):
    """A use case that keeps nothing; an endpoint says how a request becomes jobs, and the answer's shape."""

    frame: Frame

    def answer(self, request: Q, caller: Caller) -> A:
        """Answer whole. Raises: RequestError."""
        budget, jobs = self._prepare(request, caller)
        return self.frame.answer(self._shape(), jobs, budget)

    def stream(self, request: Q, caller: Caller) -> Iterator[C | None]:
        """Answer chunk by chunk; a wrong request is refused before the first. A None is a sign of life.

        Raises: RequestError.
        """
        budget, jobs = self._prepare(request, caller)
        include_usage = bool(request.stream_options and request.stream_options.include_usage)
        return self.frame.stream(self._shape(), jobs, budget, include_usage=include_usage)

    @abstractmethod
    def _prepare(self, request: Q, caller: Caller) -> tuple[Budget, list[Job]]: ...

    @abstractmethod
    def _shape(self) -> Shape[A, C]: ...


def choices_of(job: Job, n: int | None) -> list[Job]:
    """Repeat a job for `n` choices; choice i is what a single choice with `seed + i` would be."""
    seed = job.params.seed
    return [
        dataclasses.replace(job, params=dataclasses.replace(job.params, seed=seed + i), repeats=i > 0)
        for i in range(n or 1)
    ]


def finish_reason(run: Run, *, has_calls: bool = False) -> FinishReason:
    """The nearest standard value; clients take an unknown one for "stop" and hide the loss."""
    if run.stop_reason != "stop":
        return "length"
    return "tool_calls" if has_calls else "stop"


def usage_of(runs: Sequence[Run]) -> CompletionUsage:
    """Count every prompt once and every choice's tokens."""
    asked = [run for run in runs if not run.job.repeats]
    prompt, output = sum(run.prompt_tokens for run in asked), sum(len(run.output_ids) for run in runs)
    return CompletionUsage(
        prompt_tokens=prompt,
        completion_tokens=output,
        total_tokens=prompt + output,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=sum(run.cached_tokens for run in asked)),
    )
