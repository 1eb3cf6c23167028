"""`POST /v1/chat/completions`: the request, the answer and the chunks of a stream.

Source: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from handler.schema.extras import Dormouse
from handler.schema.fields import (
    Answer,
    Identifier,
    LogitBias,
    Penalty,
    Refused,
    Request,
    Sampling,
    Seed,
    ServiceTier,
    Stop,
    StreamOptions,
    TokenLimit,
    TopLogprobs,
    only,
)
from handler.schema.formats import ChatFormat

MAX_CHOICES = 8


class TextPart(Request):
    """A piece of a message's text; images, audio and files are refused."""

    type: Literal["text"]
    text: str


class ChatMessage(Request):
    """One message. An assistant's message may be sent back exactly as it came, with its empty fields."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[TextPart], Field(min_length=1)]
    name: Refused = None
    refusal: Refused = None
    tool_calls: Refused = None
    tool_call_id: Refused = None
    function_call: Refused = None
    audio: Refused = None
    annotations: Annotated[list[Any] | None, only([])] = None

    @property
    def text(self) -> str:
        """The content as one string."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatCompletionRequest(Sampling):
    """The body of `POST /v1/chat/completions`."""

    model: Identifier
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=2048)]
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
    modalities: Annotated[list[Literal["text"]] | None, only(["text"])] = None
    tools: Annotated[list[Any] | None, only([])] = None
    tool_choice: Annotated[Literal["none", "auto"] | None, only("none", "auto")] = None
    parallel_tool_calls: bool | None = None
    functions: Refused = None
    function_call: Refused = None
    audio: Refused = None
    moderation: Refused = None
    prediction: Refused = None
    prompt_cache_options: Refused = None
    prompt_cache_retention: Refused = None
    reasoning_effort: Refused = None
    verbosity: Refused = None
    web_search_options: Refused = None

    @model_validator(mode="after")
    def _fields_agree(self) -> ChatCompletionRequest:
        if self.stream_options is not None and not self.stream:
            raise ValueError("'stream_options' is only allowed when 'stream' is true")
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise ValueError("'max_tokens' and 'max_completion_tokens' are not allowed together")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("'top_logprobs' is only allowed when 'logprobs' is true")
        return self


FinishReason = Literal["stop", "length"]


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
    content: str
    refusal: None = None


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


class Delta(Answer):
    """What a chunk adds to the message."""

    role: Literal["assistant"] | None = Field(default=None, exclude_if=lambda role: role is None)
    content: str | None = None


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
