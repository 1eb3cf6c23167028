"""`POST /v1/completions`: a text goes on; no chat template, nothing kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from handler.chat.budget import Budget, Caller
from handler.chat.choices import Frame, Shape, choices_of, finish_reason
from handler.chat.inference import Job, Run
from handler.chat.sampling import check_model, completion_params, stop_strings
from handler.errors import ContextOverflow
from handler.schema.completions import Completion, CompletionChoice, CompletionRequest


@dataclass(frozen=True)
class TextCompletions:
    """The use case."""

    frame: Frame

    def answer(self, request: CompletionRequest, caller: Caller) -> Completion:
        """Answer whole. Raises: RequestError."""
        budget, jobs = self._prepare(request, caller)
        return self.frame.answer(SHAPE, jobs, budget)

    def stream(self, request: CompletionRequest, caller: Caller) -> Iterator[Completion]:
        """Answer chunk by chunk; a wrong request is refused before the first. Raises: RequestError."""
        budget, jobs = self._prepare(request, caller)
        include_usage = bool(request.stream_options and request.stream_options.include_usage)
        return self.frame.stream(SHAPE, jobs, budget, include_usage=include_usage)

    def _prepare(self, request: CompletionRequest, caller: Caller) -> tuple[Budget, list[Job]]:
        inference = self.frame.inference
        budget, engine = inference.budget(caller.limit_s), inference.engine
        check_model(engine.manifest, request.model)
        params = completion_params(request, engine.manifest)
        prompt_ids = engine.prompt.encode_text(request.prompt)
        limit = engine.model.context_tokens
        if len(prompt_ids) >= limit:
            raise ContextOverflow(
                f"This model's context is {limit} tokens, of which the answer needs at least 1; "
                f"the prompt has {len(prompt_ids)} tokens.",
                param="prompt",
            )
        inference.check_time(len(prompt_ids), budget)
        job = Job(prompt_ids, params, max_tokens=request.max_tokens, stop=stop_strings(request.stop))
        return budget, choices_of(job, request.n)


def _choice(index: int, run: Run) -> CompletionChoice:
    text = "".join(piece.text for piece in run)
    return CompletionChoice(index=index, text=text, finish_reason=finish_reason(run))


def _parts(index: int, run: Run) -> Iterator[CompletionChoice]:
    for piece in run:
        if piece.text:
            yield CompletionChoice(index=index, text=piece.text, finish_reason=None)
    yield CompletionChoice(index=index, text="", finish_reason=finish_reason(run))


SHAPE = Shape("cmpl-", Completion, Completion, _choice, _parts)
