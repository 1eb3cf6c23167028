"""Why an answer is what it is, as far as it can be told: `dormouse: {"explain": true}` and what it brings."""

from __future__ import annotations

from pydantic import Field

from handler.schema.fields import Answer, Request


class DormouseRequest(Request):
    """What may be asked for beyond OpenAI's fields."""

    explain: bool | None = None


class TokenCertainty(Answer):
    """How sure the model was of one token; nats, by its own distribution."""

    token: str
    logprob: float
    entropy: float


class Span(Answer):
    """A stretch of unlikely tokens; characters of all that the tokens say."""

    start: int
    end: int
    text: str
    probability: float
    """Of the least likely token in it."""


class Support(Answer):
    """One turn of the conversation, and how much likelier the answer is for its having been said."""

    role: str
    """Of its first message."""
    messages: list[int] = Field(default_factory=list, exclude_if=lambda places: not places)
    """Places in the request's `messages`."""
    item_ids: list[str] = Field(default_factory=list, exclude_if=lambda ids: not ids)
    nats: float | None
    """null: not computed, for want of time, or since the template takes no conversation without it."""


class Explanation(Answer):
    """Certainties of the answer's tokens, and the turns it rests on."""

    tokens: list[TokenCertainty]
    low_confidence: list[Span]
    support: list[Support]
    complete: bool
    """Whether every token and turn was computed; if not, time or a limit was short."""
    ms: float
