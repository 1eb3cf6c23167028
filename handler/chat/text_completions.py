"""`POST /v1/completions`: texts go on, or are scored; no chat template, nothing kept."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from handler.chat.budget import Budget, Caller
from handler.chat.choices import Shape, Stateless, choices_of, finish_reason
from handler.chat.run import Job, Run
from handler.chat.sampling import check_model, completion_params, stop_strings
from handler.chat.text_logprobs import LogprobLists
from handler.engine.text import whole_text
from handler.engine.warm import common_prefix
from handler.errors import ContextOverflow, InvalidValue
from handler.schema.completions import Completion, CompletionChoice, CompletionRequest


class TextCompletions(Stateless[CompletionRequest, Completion, Completion]):
    """The use case."""

    def _prepare(self, request: CompletionRequest, caller: Caller) -> tuple[Budget, list[Job]]:
        inference = self.frame.inference
        budget = inference.budget(caller)
        check_model(inference.engine.manifest, request.model)
        params = completion_params(request, inference.engine.manifest)
        prompts = request.prompts
        jobs = []
        for at, prompt in enumerate(prompts):
            if at:
                budget.check()
            ids = self._ids(prompt, "prompt" if prompts[0] is request.prompt else f"prompt[{at}]", request)
            job = Job(
                ids,
                params,
                max_tokens=request.token_limit,
                stop=stop_strings(request.stop),
                top_logprobs=request.logprobs,
                is_text=True,
                echo=self._text(prompt, request) if request.echo else None,
            )
            jobs += choices_of(job, request.n)
        inference.check_time(_needed_tokens(jobs), budget, scored=jobs[0].is_scored)
        return budget, jobs

    def _ids(self, prompt: str | list[int], param: str, request: CompletionRequest) -> list[int]:
        """Encode a text, in which control strings stay text; ids are taken as they are, control or not."""
        engine = self.frame.inference.engine
        vocabulary, limit = engine.manifest.dims.vocabulary, engine.model.context_tokens
        needed = 0 if request.max_tokens == 0 else 1
        if isinstance(prompt, str):
            try:
                ids = engine.prompt.encode_text(prompt, most_tokens=limit)
            except ContextOverflow as error:  # it was not counted to its end
                raise ContextOverflow.of(f"more than {limit} tokens", limit, needed, param=param) from error
        else:
            ids = prompt
            wrong = next((at for at, id_ in enumerate(ids) if id_ >= vocabulary), None)
            if wrong is not None:
                problem = f"{ids[wrong]} is not one of the {vocabulary} token ids"
                raise InvalidValue(problem, param=f"{param}[{wrong}]")
        if len(ids) + needed > limit:
            raise ContextOverflow.of(f"{len(ids)} tokens", limit, needed, param=param)
        return ids

    def _text(self, prompt: str | list[int], request: CompletionRequest) -> str:
        """What is echoed: a text as it is, ids decoded, half a character only where no answer ends it."""
        if isinstance(prompt, str):
            return prompt
        tokenizer = self.frame.inference.engine.tokenizer
        is_all = request.max_tokens == 0
        return str(tokenizer.decode(prompt)) if is_all else whole_text(tokenizer, prompt)

    def _shape(self) -> Shape[Completion, Completion]:
        return Shape("cmpl-", Completion, Completion, self._choice, self._parts)

    def _choice(self, index: int, run: Run) -> CompletionChoice:
        pieces, lists = list(run), self._lists(run)
        tokens = [token for piece in pieces for token in piece.tokens]
        return CompletionChoice(
            index=index,
            text="".join(piece.text for piece in pieces),
            logprobs=None if lists is None else lists.of([*tokens, *run.ending]),
            finish_reason=finish_reason(run),
        )

    def _parts(self, index: int, run: Run) -> Iterator[CompletionChoice | None]:
        lists = self._lists(run)
        for piece in run:
            if piece.is_sign_of_life:
                yield None
            elif piece.text or (lists is not None and piece.tokens):
                logprobs = None if lists is None else lists.of(piece.tokens)
                yield CompletionChoice(index=index, text=piece.text, logprobs=logprobs, finish_reason=None)
        logprobs = None if lists is None or not run.ending else lists.of(run.ending)
        yield CompletionChoice(index=index, text="", logprobs=logprobs, finish_reason=finish_reason(run))

    def _lists(self, run: Run) -> LogprobLists | None:
        if run.job.top_logprobs is None:
            return None
        following = () if run.job.echo is not None else run.job.prompt_ids
        return LogprobLists(self.frame.inference.engine.tokenizer, following)


def _needed_tokens(jobs: list[Job]) -> int:
    """What must be read for anything to be given: the first prompt, or all where they are scored.

    What a prompt begins with like the one before it is scored once.
    """
    ids = [job.prompt_ids for job in jobs]
    more = sum(len(new) - common_prefix(old, new) for old, new in pairwise(ids)) if jobs[0].is_scored else 0
    return len(ids[0]) + more
