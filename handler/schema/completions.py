"""`POST /v1/completions`: a prompt as it stands, without a chat template.

Source: https://platform.openai.com/docs/api-reference/completions
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator

from handler.schema.chat_completions import MAX_CHOICES, CompletionUsage, FinishReason
from handler.schema.extras import Dormouse
from handler.schema.fields import (
    MAX_TOKENS,
    Answer,
    Identifier,
    LogitBias,
    Penalty,
    Refused,
    Sampling,
    Seed,
    Stop,
    StreamOptions,
    disagrees,
    unsupported,
)

MAX_PROMPTS = 128
DEFAULT_TOKENS = 16

TokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
Text = Annotated[str, Field(min_length=1)]


def _kind(prompt: Any) -> str:
    """Tell OpenAI's four kinds of prompt apart by what comes first: an error is told of one of them."""
    first = prompt[0] if isinstance(prompt, list) and prompt else None
    if isinstance(first, list):
        return "lists of ids"
    if isinstance(first, int):
        return "ids"
    return "texts" if isinstance(prompt, list) else "text"


Prompt = Annotated[
    Annotated[Text, Tag("text")]
    | Annotated[list[Text], Field(min_length=1, max_length=MAX_PROMPTS), Tag("texts")]
    | Annotated[TokenIds, Tag("ids")]
    | Annotated[list[TokenIds], Field(min_length=1, max_length=MAX_PROMPTS), Tag("lists of ids")],
    Discriminator(_kind),
]


class CompletionRequest(Sampling):
    """The body of `POST /v1/completions`."""

    model: Identifier
    prompt: Prompt
    max_tokens: Annotated[int, Field(ge=0, le=MAX_TOKENS)] | None = DEFAULT_TOKENS
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    stop: Stop | None = None
    seed: Seed | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: LogitBias | None = None
    user: str | None = None
    best_of: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    suffix: Refused = None

    @field_validator("best_of")
    @classmethod
    def _all_are_given(cls, best_of: int | None, info: ValidationInfo) -> int | None:
        if best_of is not None and best_of != (info.data.get("n") or 1):
            raise unsupported("is not supported by this server; only the value of 'n' is accepted")
        return best_of

    @model_validator(mode="after")
    def _fields_agree(self) -> CompletionRequest:
        if self.stream_options is not None and not self.stream:
            raise disagrees("stream_options", "is only allowed when 'stream' is true")
        if self.max_tokens == 0 and not self.echo:
            raise disagrees("max_tokens", "may only be 0 when 'echo' is true")
        if len(self.prompts) * (self.n or 1) > MAX_PROMPTS:
            raise disagrees("n", f"and 'prompt' together ask for more than {MAX_PROMPTS} choices")
        return self

    @property
    def token_limit(self) -> int:
        """How long an answer may be; null asks for the default, as in every field."""
        return DEFAULT_TOKENS if self.max_tokens is None else self.max_tokens

    @property
    def prompts(self) -> Sequence[str | list[int]]:
        """The prompts, one or several, as a list."""
        if isinstance(self.prompt, str) or isinstance(self.prompt[0], int):
            return [self.prompt]
        return self.prompt


class CompletionLogprobs(Answer):
    """One entry per token; what nothing was predicted for, a prompt's first token, has null."""

    tokens: list[str] = Field(default_factory=list)
    token_logprobs: list[float | None] = Field(default_factory=list)
    top_logprobs: list[dict[str, float] | None] = Field(default_factory=list)
    text_offset: list[int] = Field(default_factory=list)


class CompletionChoice(Answer):
    """One of `n` continuations; in a stream, the next piece of one."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: FinishReason | None


class Completion(Answer):
    """The buffered answer, and each `data:` line of a stream."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChoice]
    usage: CompletionUsage | None = None
    dormouse: Dormouse | None = Field(default=None, exclude_if=lambda facts: facts is None)
