"""`/v1/responses`: the request and the response object.

Source: https://platform.openai.com/docs/api-reference/responses
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
    Metadata,
    Refused,
    Request,
    Sampling,
    Seed,
    ServiceTier,
    Stop,
    TokenLimit,
    TopLogprobs,
    Verbosity,
    disagrees,
    only,
)
from handler.schema.formats import ResponseFormat, TextFacts
from handler.schema.items import Includable, InputItem, InputMessage, OutputItem
from handler.schema.tools import (
    MAX_CALLS,
    MAX_TOOLS,
    AllowedToolsFacts,
    FunctionToolFacts,
    Mode,
    NamedToolFacts,
    ResponseTool,
    ResponseToolChoice,
)

MAX_KEPT_ITEMS = 40 - 1 - MAX_CALLS
"""Of an input: what fits in the one write of a turn, beside a message and the calls of an answer."""


class ConversationReference(Request):
    """A conversation by its id."""

    id: Identifier


class TextConfig(Request):
    """How the text is to look."""

    format: ResponseFormat | None = None
    verbosity: Verbosity = None


class ResponseStreamOptions(Request):
    """What a stream carries besides the events."""

    include_obfuscation: Annotated[bool | None, only(False)] = None


class ResponseInput(Request):
    """What the prompt is made of, in a request that answers it and in one that only counts it."""

    input: str | Annotated[list[InputItem], Field(max_length=MAX_MESSAGES)] | None = None
    instructions: str | None = None
    conversation: Identifier | ConversationReference | None = None
    previous_response_id: Identifier | None = None
    truncation: Literal["auto", "disabled"] | None = None
    text: TextConfig | None = None
    tools: Annotated[list[ResponseTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: ResponseToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Refused = None

    @model_validator(mode="after")
    def _one_place(self) -> ResponseInput:
        if self.conversation is not None and self.previous_response_id is not None:
            raise disagrees("previous_response_id", "is not allowed together with 'conversation'")
        return self

    @property
    def conversation_id(self) -> str | None:
        """The conversation's id, whichever way it was written."""
        return (
            self.conversation.id
            if isinstance(self.conversation, ConversationReference)
            else self.conversation
        )

    @property
    def items(self) -> list[InputItem]:
        """The input as items."""
        if isinstance(self.input, str):
            return [InputMessage(role="user", content=self.input)]
        return self.input or []


class InputTokensRequest(ResponseInput):
    """The body of `POST /v1/responses/input_tokens`."""

    model: Identifier | None = None
    personality: Refused = None


class InputTokens(Answer):
    """How long the prompt would be."""

    input_tokens: int
    object: Literal["response.input_tokens"] = "response.input_tokens"


class ResponseRequest(ResponseInput, Sampling):
    """The body of `POST /v1/responses`; `seed` and `stop` are vendor fields here."""

    model: Identifier
    store: bool | None = None
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    max_output_tokens: TokenLimit | None = None
    metadata: Metadata | None = None
    top_logprobs: TopLogprobs | None = None
    include: list[Includable] | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    service_tier: ServiceTier = None
    background: Annotated[bool | None, only(False)] = None
    dormouse: DormouseRequest | None = None
    access_programs: Refused = None
    background_options: Refused = None
    context_management: Refused = None
    image: Refused = None
    max_tool_calls: Refused = None
    moderation: Refused = None
    prompt: Refused = None
    prompt_cache_options: Refused = None
    prompt_cache_retention: Refused = None

    @model_validator(mode="after")
    def _fields_agree(self) -> ResponseRequest:
        if self.conversation is not None and self.store is False:
            raise disagrees("store", "cannot be false with 'conversation', which is a place to store to")
        if self.stream_options is not None and not self.stream:
            raise disagrees("stream_options", "is only allowed when 'stream' is true")
        if self.store is not False and len(self.items) > MAX_KEPT_ITEMS:
            allowed = f"may have at most {MAX_KEPT_ITEMS} entries unless 'store' is false"
            raise disagrees("input", f"{allowed}, got {len(self.items)}", "array_above_max_length")
        return self

    @property
    def wanted_logprobs(self) -> int | None:
        """How many likely tokens to name beside each of the answer; None: no log-probabilities at all."""
        is_wanted = self.top_logprobs is not None or bool(self.include)
        return (self.top_logprobs or 0) if is_wanted else None


class ResponseConversation(Answer):
    """The conversation that the turn was added to."""

    id: str


class IncompleteDetails(Answer):
    """Why there is less than there could be; the exact reason is `dormouse.stop_reason`."""

    reason: Literal["max_output_tokens"]


class ResponseError(Answer):
    """Why there is no answer."""

    code: Literal["server_error"]
    message: str


class InputTokensDetails(Answer):
    """How much of the prompt was already computed, and how much had to be and now is."""

    cached_tokens: int
    cache_write_tokens: int


class OutputTokensDetails(Answer):
    """This server has no hidden reasoning."""

    reasoning_tokens: Literal[0] = 0


class ResponseUsage(Answer):
    """Token counts."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails = Field(default_factory=OutputTokensDetails)
    total_tokens: int


class ResponseObject(Answer):
    """A response, whole or under way."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: Literal["in_progress", "completed", "incomplete", "cancelled", "failed"]
    background: Literal[False] = False
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    model: str
    output: list[OutputItem]
    parallel_tool_calls: bool = True
    previous_response_id: str | None = None
    conversation: ResponseConversation | None = None
    store: bool
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    text: TextFacts = Field(default_factory=TextFacts)
    tool_choice: Mode | NamedToolFacts | AllowedToolsFacts = "auto"
    tools: list[FunctionToolFacts] = Field(default_factory=list)
    truncation: Literal["auto", "disabled"]
    usage: ResponseUsage | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    service_tier: Literal["default"] = "default"
    metadata: dict[str, str]
    dormouse: Dormouse | None = None


class ResponseDeleted(Answer):
    """The response is gone; the conversation that it was a turn of keeps its items."""

    id: str
    object: Literal["response.deleted"] = "response.deleted"
    deleted: Literal[True] = True
