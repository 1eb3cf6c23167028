"""`POST /v1/chat/completions`: the request, the answer and the chunks of a stream.

Source: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from handler.schema.explanation import DormouseRequest
from handler.schema.extras import Dormouse
from handler.schema.fields import (
    MAX_MESSAGES,
    Answer,
    Identifier,
    LogitBias,
    Penalty,
    Refused,
    Sampling,
    Seed,
    ServiceTier,
    Stop,
    StreamOptions,
    TokenLimit,
    TopLogprobs,
    Verbosity,
    disagrees,
    only,
)
from handler.schema.formats import ChatFormat
from handler.schema.messages import ChatMessage
from handler.schema.tools import MAX_TOOLS, ChatTool, ChatToolChoice, MessageToolCall

MAX_CHOICES = 8


class ChatCompletionRequest(Sampling):
    """The body of `POST /v1/chat/completions`."""

    model: Identifier
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: TokenLimit | None = None
    max_completion_tokens: TokenLimit | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    stop: Stop | None = None
    seed: Seed | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: LogitBias | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    response_format: ChatFormat | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    store: Annotated[bool | None, only(False)] = None
    metadata: Refused = None
    service_tier: ServiceTier = None
    verbosity: Verbosity = None
    modalities: Annotated[list[Literal["text"]] | None, only(["text"])] = None
    tools: Annotated[list[ChatTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: ChatToolChoice | None = None
    parallel_tool_calls: bool | None = None
    dormouse: DormouseRequest | None = None
    functions: Refused = None
    function_call: Refused = None
    audio: Refused = None
    moderation: Refused = None
    prediction: Refused = None
    prompt_cache_options: Refused = None
    prompt_cache_retention: Refused = None
    reasoning_effort: Refused = None
    web_search_options: Refused = None

    @model_validator(mode="after")
    def _fields_agree(self) -> ChatCompletionRequest:
        if self.stream_options is not None and not self.stream:
            raise disagrees("stream_options", "is only allowed when 'stream' is true")
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise disagrees("max_tokens", "is not allowed together with 'max_completion_tokens'")
        if self.top_logprobs is not None and not self.logprobs:
            raise disagrees("top_logprobs", "is only allowed when 'logprobs' is true")
        return self


FinishReason = Literal["stop", "length", "tool_calls"]


class TopLogprob(Answer):
    """A token that could have come, and how likely it was."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    """A token that came."""

    top_logprobs: list[TopLogprob]


class Logprobs(Answer):
    """One entry per generated token."""

    content: list[TokenLogprob]
    refusal: None = None


class AssistantMessage(Answer):
    """What the model said."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    tool_calls: list[MessageToolCall] | None = Field(default=None, exclude_if=lambda calls: calls is None)


class Choice(Answer):
    """One of `n` answers."""

    index: int
    message: AssistantMessage
    logprobs: Logprobs | None = None
    finish_reason: FinishReason


class PromptTokensDetails(Answer):
    """How much of the prompt was already computed."""

    cached_tokens: int


class CompletionUsage(Answer):
    """Token counts; completion tokens are summed over the choices."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class ChatCompletion(Answer):
    """The buffered answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[Choice]
    usage: CompletionUsage
    dormouse: Dormouse


class FunctionDelta(Answer):
    """What a chunk adds to a called function: its name, once, or a piece of its arguments."""

    name: str | None = Field(default=None, exclude_if=lambda name: name is None)
    arguments: str


class ToolCallDelta(Answer):
    """What a chunk adds to a call; id and type come with the first."""

    index: int
    id: str | None = Field(default=None, exclude_if=lambda id: id is None)
    type: Literal["function"] | None = Field(default=None, exclude_if=lambda kind: kind is None)
    function: FunctionDelta


class Delta(Answer):
    """What a chunk adds to the message."""

    role: Literal["assistant"] | None = Field(default=None, exclude_if=lambda role: role is None)
    content: str | None = None
    tool_calls: list[ToolCallDelta] | None = Field(default=None, exclude_if=lambda calls: calls is None)


class EmptyDelta(Answer):
    """The delta of a choice's last chunk."""


class ChunkChoice(Answer):
    """A choice's part in a chunk."""

    index: int
    delta: Delta | EmptyDelta
    logprobs: Logprobs | None = None
    finish_reason: FinishReason | None = None


class ChatCompletionChunk(Answer):
    """One `data:` line of a stream; the last one with a choice carries `dormouse`."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChunkChoice]
    usage: CompletionUsage | None = None
    dormouse: Dormouse | None = Field(default=None, exclude_if=lambda facts: facts is None)
