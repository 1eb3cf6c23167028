"""`POST /v1/chat/completions`: nothing is kept, every request brings its whole history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from handler.chat.budget import Budget, Caller
from handler.chat.calls import messages_of
from handler.chat.choices import Shape, Stateless, choices_of, finish_reason
from handler.chat.explanation import parts_of
from handler.chat.fit import fit
from handler.chat.formats import grammar_of
from handler.chat.logprobs import token_logprobs
from handler.chat.run import Job, Run
from handler.chat.sampling import check_model, completion_params, stop_strings
from handler.chat.spoken import Spoken, SpokenCall, SpokenText, take
from handler.chat.tools import toolbox_of
from handler.chat.translate import new_id
from handler.engine.values import Piece
from handler.errors import Unsupported
from handler.schema.chat_completions import (
    AssistantMessage,
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    Choice,
    ChunkChoice,
    Delta,
    EmptyDelta,
    FunctionDelta,
    Logprobs,
    ToolCallDelta,
)
from handler.schema.tools import CalledFunction, MessageToolCall, choice_of


class Completions(Stateless[ChatCompletionRequest, ChatCompletion, ChatCompletionChunk]):
    """The use case."""

    def _prepare(self, request: ChatCompletionRequest, caller: Caller) -> tuple[Budget, list[Job]]:
        inference = self.frame.inference
        budget, engine = inference.budget(caller), inference.engine
        check_model(engine.manifest, request.model)
        form = grammar_of(engine, request.response_format)
        toolbox = toolbox_of(
            engine,
            [tool.function for tool in request.tools or ()],
            choice_of(request.tool_choice),
            parallel=request.parallel_tool_calls,
            where="tools[{}].function",
            form=form,
            check_time=budget.check,
        )
        messages = messages_of(request.messages)
        wants_parts = request.dormouse is not None and request.dormouse.explain
        if wants_parts and (request.n or 1) > 1:
            raise Unsupported("'n' must be 1 with 'dormouse.explain'.", param="n")
        job = Job(
            fit(engine, messages, tools=toolbox.shown, truncate=False).prompt_ids,
            completion_params(request, engine.manifest),
            max_tokens=request.max_completion_tokens or request.max_tokens,
            stop=stop_strings(request.stop),
            calls=toolbox.syntax,
            grammar=toolbox.grammar,
            top_logprobs=(request.top_logprobs or 0) if request.logprobs else None,
            parts=parts_of(engine, messages, toolbox.shown, budget.should_stop) if wants_parts else None,
        )
        inference.check_time(len(job.prompt_ids), budget)
        return budget, choices_of(job, request.n)

    def _shape(self) -> Shape[ChatCompletion, ChatCompletionChunk]:
        return Shape("chatcmpl-", ChatCompletion, ChatCompletionChunk, self._choice, self._parts)

    def _choice(self, index: int, run: Run) -> Choice:
        pieces, spoken = list(run), list[Spoken]()
        for piece in pieces:
            take(spoken, piece, new_id)
        texts = [each.text for each in spoken if isinstance(each, SpokenText)]
        calls = [_told(each) for each in spoken if isinstance(each, SpokenCall)]
        content = None if calls and not texts else "".join(texts)
        return Choice(
            index=index,
            message=AssistantMessage(content=content, tool_calls=calls or None),
            logprobs=self._logprobs(run, pieces),
            finish_reason=finish_reason(run, has_calls=bool(calls)),
        )

    def _parts(self, index: int, run: Run) -> Iterator[ChunkChoice | None]:
        yield ChunkChoice(index=index, delta=Delta(role="assistant"))
        calls = 0
        for piece in run:
            calls += piece.kind == "name"
            if piece.is_sign_of_life:
                yield None
            elif piece.text or run.job.top_logprobs is not None:
                logprobs = self._logprobs(run, [piece])
                yield ChunkChoice(index=index, delta=_delta(piece, calls - 1), logprobs=logprobs)
        yield ChunkChoice(
            index=index, delta=EmptyDelta(), finish_reason=finish_reason(run, has_calls=bool(calls))
        )

    def _logprobs(self, run: Run, pieces: Sequence[Piece]) -> Logprobs | None:
        if run.job.top_logprobs is None:
            return None
        return Logprobs(content=token_logprobs(pieces, self.frame.inference.engine))


def _told(call: SpokenCall) -> MessageToolCall:
    return MessageToolCall(id=call.call_id, function=CalledFunction(name=call.name, arguments=call.arguments))


def _delta(piece: Piece, call: int) -> Delta:
    if piece.kind == "name":
        begun = FunctionDelta(name=piece.text, arguments="")
        return Delta(
            tool_calls=[ToolCallDelta(index=call, id=new_id("call"), type="function", function=begun)]
        )
    if piece.kind == "arguments":
        return Delta(tool_calls=[ToolCallDelta(index=call, function=FunctionDelta(arguments=piece.text))])
    return Delta(content=piece.text)
