"""`POST /v1/completions`: a text goes on; no chat template, nothing kept."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from handler.chat.budget import Budget, Caller
from handler.chat.completions import choices_of, finish_reason, usage_of
from handler.chat.inference import Inference, Job, Run
from handler.chat.receipt import Till
from handler.chat.sampling import check_model, params_of, stop_strings
from handler.errors import ContextOverflow
from handler.schema.completions import Completion, CompletionChoice, CompletionRequest


@dataclass(frozen=True)
class TextCompletions:
    """The use case."""

    inference: Inference
    till: Till
    fingerprint: str
    now_s: Callable[[], float]

    def answer(self, request: CompletionRequest, caller: Caller) -> Completion:
        """Answer whole. Raises: RequestError."""
        budget, jobs = self._prepare(request, caller)
        choices, runs = [], []
        for index, job in enumerate(jobs):
            run = self.inference.run(job, budget)
            text = "".join(piece.text for piece in run)
            runs.append(run)
            choices.append(CompletionChoice(index=index, text=text, finish_reason=finish_reason(run)))
        facts = self.till.facts(runs, budget)
        self.inference.handed_over(runs[-1], budget)
        return Completion(**self._head(), choices=choices, usage=usage_of(runs), dormouse=facts)

    def stream(self, request: CompletionRequest, caller: Caller) -> Iterator[Completion | None]:
        """Answer chunk by chunk; a wrong request is refused before the first. A None is a sign of life.

        Raises: RequestError.
        """
        budget, jobs = self._prepare(request, caller)
        include_usage = bool(request.stream_options and request.stream_options.include_usage)
        return self._chunks(jobs, budget, include_usage)

    def _chunks(
        self, jobs: Sequence[Job], budget: Budget, include_usage: bool
    ) -> Iterator[Completion | None]:
        head = self._head()
        runs: list[Run] = []
        for index, job in enumerate(jobs):
            run = self.inference.run(job, budget)
            runs.append(run)
            try:
                for piece in run:
                    if not piece.text:
                        yield None
                    else:
                        choice = CompletionChoice(index=index, text=piece.text, finish_reason=None)
                        yield Completion(**head, choices=[choice])
            finally:
                run.close()
            last = CompletionChoice(index=index, text="", finish_reason=finish_reason(run))
            facts = self.till.facts(runs, budget) if job is jobs[-1] else None
            yield Completion(**head, choices=[last], dormouse=facts)
        if include_usage:
            yield Completion(**head, choices=[], usage=usage_of(runs))

    def _prepare(self, request: CompletionRequest, caller: Caller) -> tuple[Budget, list[Job]]:
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
        prompt_ids = engine.prompt.encode_text(request.prompt)
        limit = engine.model.context_tokens
        if len(prompt_ids) >= limit:
            raise ContextOverflow(
                f"This model's context is {limit} tokens, of which the answer needs at least 1; "
                f"the prompt has {len(prompt_ids)} tokens.",
                param="prompt",
            )
        self.inference.check_time(len(prompt_ids), budget)
        job = Job(prompt_ids, params, max_tokens=request.max_tokens, stop=stop_strings(request.stop))
        return budget, choices_of(job, request.n)

    def _head(self) -> dict[str, Any]:
        return {
            "id": "cmpl-" + secrets.token_hex(12),
            "created": int(self.now_s()),
            "model": self.inference.engine.manifest.name,
            "system_fingerprint": self.fingerprint,
        }
