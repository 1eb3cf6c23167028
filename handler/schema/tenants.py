"""What a tenant can ask about itself as a whole: its use of tokens, and that everything of it be erased.

Extensions of ours. Usage is written as OpenAI writes an organization's.
Source: https://platform.openai.com/docs/api-reference/usage/completions
"""

from __future__ import annotations

from typing import Literal

from handler.schema.fields import Answer, Request


class UsageResult(Answer):
    """The sum over a day's answers."""

    object: Literal["organization.usage.completions.result"] = "organization.usage.completions.result"
    input_tokens: int
    input_cached_tokens: int
    output_tokens: int
    num_model_requests: int


class UsageBucket(Answer):
    """A day, UTC, in Unix seconds; its results are empty where nothing was used."""

    object: Literal["bucket"] = "bucket"
    start_time: int
    end_time: int
    results: list[UsageResult]


class UsageFacts(Answer):
    """The day by its name; of today, what is left of the quota where there is one."""

    period: str
    limit_tokens: int | None
    remaining_tokens: int | None
    reset_s: int | None


class UsagePage(Answer):
    """One day."""

    object: Literal["page"] = "page"
    data: list[UsageBucket]
    has_more: Literal[False] = False
    next_page: None = None
    dormouse: UsageFacts


class ErasureRequest(Request):
    """The body of `POST /v1/erase`: a word that nobody sends by accident."""

    confirm: Literal["everything"]


class Erasure(Answer):
    """Nothing of the tenant is left, save the count of what it has used of a quota today."""

    object: Literal["erasure"] = "erasure"
    erased: Literal["everything"] = "everything"
