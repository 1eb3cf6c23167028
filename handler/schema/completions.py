"""`POST /v1/completions`: a prompt as it stands, without a chat template.

Source: https://platform.openai.com/docs/api-reference/completions
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from handler.schema.chat_completions import MAX_CHOICES, CompletionUsage, FinishReason
from handler.schema.extras import Dormouse
from handler.schema.fields import (
    Answer,
    Identifier,
    LogitBias,
    Penalty,
    Refused,
    Sampling,
    Seed,
    Stop,
    StreamOptions,
    TokenLimit,
    only,
)


class CompletionRequest(Sampling):
    """The body of `POST /v1/completions`."""

    model: Identifier
    prompt: Annotated[str, Field(min_length=1)]
    max_tokens: TokenLimit | None = 16
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    stop: Stop | None = None
    seed: Seed | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: LogitBias | None = None
    user: str | None = None
    best_of: Annotated[Literal[1] | None, only(1)] = None
    echo: Annotated[bool | None, only(False)] = None
    logprobs: Refused = None
    suffix: Refused = None

    @model_validator(mode="after")
    def _fields_agree(self) -> CompletionRequest:
        if self.stream_options is not None and not self.stream:
            raise ValueError("'stream_options' is only allowed when 'stream' is true")
        return self


class CompletionChoice(Answer):
    """One of `n` continuations; in a stream, the next piece of one."""

    index: int
    text: str
    logprobs: None = None
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
