"""Chat completions and plain completions: nothing is kept, every request brings its whole history."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from handler.chat.budget import Budget, Caller
from handler.chat.fit import Message, fit
from handler.chat.formats import check_grammar, grammar_of
from handler.chat.inference import Inference, Job, Run
from handler.chat.logprobs import token_logprobs
from handler.chat.receipt import Till
from handler.chat.sampling import check_model, params_of, stop_strings
from handler.engine.values import Piece
from handler.schema.chat_completions import (
    AssistantMessage,
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    Choice,
    ChunkChoice,
    CompletionUsage,
    Delta,
    EmptyDelta,
    FinishReason,
    Logprobs,
    PromptTokensDetails,
)


@dataclass(frozen=True)
class Completions:
    """`POST /v1/chat/completions`."""

    inference: Inference
    till: Till
    fingerprint: str
    now_s: Callable[[], float]

    def answer(self, request: ChatCompletionRequest, caller: Caller) -> ChatCompletion:
        """Answer whole. Raises: RequestError."""
        budget, jobs = self._prepare(request, caller)
        choices, runs = [], []
        for index, job in enumerate(jobs):
            run = self.inference.run(job, budget)
            pieces = list(run)
            runs.append(run)
            choices.append(
                Choice(
                    index=index,
                    message=AssistantMessage(content="".join(piece.text for piece in pieces)),
                    logprobs=self._logprobs(job, pieces),
                    finish_reason=finish_reason(run),
                )
            )
        return ChatCompletion(
            **self._head(), choices=choices, usage=usage_of(runs), dormouse=self.till.facts(runs, budget)
        )

    def stream(self, request: ChatCompletionRequest, caller: Caller) -> Iterator[ChatCompletionChunk]:
        """Answer chunk by chunk; a wrong request is refused before the first. Raises: RequestError."""
        budget, jobs = self._prepare(request, caller)
        include_usage = bool(request.stream_options and request.stream_options.include_usage)
        return self._chunks(jobs, budget, include_usage)

    def _chunks(
        self, jobs: Sequence[Job], budget: Budget, include_usage: bool
    ) -> Iterator[ChatCompletionChunk]:
        head = self._head()
        runs: list[Run] = []
        for index, job in enumerate(jobs):
            first = ChunkChoice(index=index, delta=Delta(role="assistant"))
            yield ChatCompletionChunk(**head, choices=[first])
            run = self.inference.run(job, budget)
            runs.append(run)
            try:
                for piece in run:
                    if piece.text or job.top_logprobs is not None:
                        delta = Delta(content=piece.text)
                        choice = ChunkChoice(index=index, delta=delta, logprobs=self._logprobs(job, [piece]))
                        yield ChatCompletionChunk(**head, choices=[choice])
            finally:
                run.close()
            last = ChunkChoice(index=index, delta=EmptyDelta(), finish_reason=finish_reason(run))
            facts = self.till.facts(runs, budget) if run.job is jobs[-1] else None
            yield ChatCompletionChunk(**head, choices=[last], dormouse=facts)
        if include_usage:
            yield ChatCompletionChunk(**head, choices=[], usage=usage_of(runs))

    def _prepare(self, request: ChatCompletionRequest, caller: Caller) -> tuple[Budget, list[Job]]:
        budget = self.inference.budget(caller.limit_s)
        engine = self.inference.engine
        check_model(engine.manifest, request.model)
        params = params_of(
            request,
            engine.manifest,
            seed=request.seed,
            presence_penalty=request.presence_penalty,
            frequency_penalty=request.frequency_penalty,
            logit_bias=request.logit_bias,
        )
        grammar = grammar_of(request.response_format)
        check_grammar(engine, request.response_format, grammar)
        messages = [Message(message.role, message.text) for message in request.messages]
        prompt_ids = fit(engine, messages, truncate=False).prompt_ids
        self.inference.check_time(len(prompt_ids), budget)
        job = Job(
            prompt_ids,
            params,
            max_tokens=request.max_completion_tokens or request.max_tokens,
            stop=stop_strings(request.stop),
            top_logprobs=(request.top_logprobs or 0) if request.logprobs else None,
            grammar=grammar,
        )
        return budget, choices_of(job, request.n)

    def _logprobs(self, job: Job, pieces: Sequence[Piece]) -> Logprobs | None:
        if job.top_logprobs is None:
            return None
        return Logprobs(content=token_logprobs(pieces, self.inference.engine))

    def _head(self) -> dict[str, Any]:
        return {
            "id": "chatcmpl-" + secrets.token_hex(12),
            "created": int(self.now_s()),
            "model": self.inference.engine.manifest.name,
            "system_fingerprint": self.fingerprint,
        }


def choices_of(job: Job, n: int | None) -> list[Job]:
    """Repeat a job for `n` choices; choice i is what a single choice with `seed + i` would be."""
    seed = job.params.seed
    return [
        dataclasses.replace(job, params=dataclasses.replace(job.params, seed=seed + i)) for i in range(n or 1)
    ]


def finish_reason(run: Run) -> FinishReason:
    """The nearest standard value; clients take an unknown one for "stop" and hide the loss."""
    return "stop" if run.stop_reason == "stop" else "length"


def usage_of(runs: Sequence[Run]) -> CompletionUsage:
    """Count the prompt once and every choice's tokens."""
    prompt, output = runs[0].prompt_tokens, sum(len(run.output_ids) for run in runs)
    return CompletionUsage(
        prompt_tokens=prompt,
        completion_tokens=output,
        total_tokens=prompt + output,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=runs[0].cached_tokens),
    )
