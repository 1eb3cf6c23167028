"""`POST /v1/chat/completions`: nothing is kept, every request brings its whole history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from handler.chat.budget import Budget, Caller
from handler.chat.choices import Frame, Shape, choices_of, finish_reason
from handler.chat.fit import Message, fit
from handler.chat.logprobs import token_logprobs
from handler.chat.run import Job, Run
from handler.chat.sampling import check_model, completion_params, stop_strings
from handler.engine.values import Piece
from handler.schema.chat_completions import (
    AssistantMessage,
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    Choice,
    ChunkChoice,
    Delta,
    EmptyDelta,
    Logprobs,
)


@dataclass(frozen=True)
class Completions:
    """The use case."""

    frame: Frame

    def answer(self, request: ChatCompletionRequest, caller: Caller) -> ChatCompletion:
        """Answer whole. Raises: RequestError."""
        budget, jobs = self._prepare(request, caller)
        return self.frame.answer(self._shape(), jobs, budget)

    def stream(self, request: ChatCompletionRequest, caller: Caller) -> Iterator[ChatCompletionChunk | None]:
        """Answer chunk by chunk; a wrong request is refused before the first. A None is a sign of life.

        Raises: RequestError.
        """
        budget, jobs = self._prepare(request, caller)
        include_usage = bool(request.stream_options and request.stream_options.include_usage)
        return self.frame.stream(self._shape(), jobs, budget, include_usage=include_usage)

    def _prepare(self, request: ChatCompletionRequest, caller: Caller) -> tuple[Budget, list[Job]]:
        inference = self.frame.inference
        budget, engine = inference.budget(caller), inference.engine
        check_model(engine.manifest, request.model)
        messages = [Message(message.role, message.text) for message in request.messages]
        job = Job(
            fit(engine, messages, truncate=False).prompt_ids,
            completion_params(request, engine.manifest),
            max_tokens=request.max_completion_tokens or request.max_tokens,
            stop=stop_strings(request.stop),
            top_logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        )
        inference.check_time(len(job.prompt_ids), budget)
        return budget, choices_of(job, request.n)

    def _shape(self) -> Shape[ChatCompletion, ChatCompletionChunk]:
        return Shape("chatcmpl-", ChatCompletion, ChatCompletionChunk, self._choice, self._parts)

    def _choice(self, index: int, run: Run) -> Choice:
        pieces = list(run)
        return Choice(
            index=index,
            message=AssistantMessage(content="".join(piece.text for piece in pieces)),
            logprobs=self._logprobs(run, pieces),
            finish_reason=finish_reason(run),
        )

    def _parts(self, index: int, run: Run) -> Iterator[ChunkChoice | None]:
        yield ChunkChoice(index=index, delta=Delta(role="assistant"))
        for piece in run:
            if not piece.text and not piece.tokens:
                yield None
            elif piece.text or run.job.top_logprobs is not None:
                logprobs = self._logprobs(run, [piece])
                yield ChunkChoice(index=index, delta=Delta(content=piece.text), logprobs=logprobs)
        yield ChunkChoice(index=index, delta=EmptyDelta(), finish_reason=finish_reason(run))

    def _logprobs(self, run: Run, pieces: Sequence[Piece]) -> Logprobs | None:
        if run.job.top_logprobs is None:
            return None
        return Logprobs(content=token_logprobs(pieces, self.frame.inference.engine))
