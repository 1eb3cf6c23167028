"""The items of a conversation as OpenAI writes them: messages in, messages out.

Source: https://platform.openai.com/docs/api-reference/conversations
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from handler.schema.chat_completions import TokenLogprob
from handler.schema.fields import Answer, Identifier, Refused, Request, only, unsupported

MAX_ITEMS_PER_CALL = 20
"""Source: https://platform.openai.com/docs/api-reference/conversations/create-items"""

Status = Literal["in_progress", "completed", "incomplete"]


class InputTextPart(Request):
    """A piece of text that somebody wrote to the model."""

    type: Literal["input_text", "text"]
    text: str
    prompt_cache_breakpoint: Refused = None


class OutputTextPart(Request):
    """A piece of text that the model wrote, sent back to it."""

    type: Literal["output_text"]
    text: str
    annotations: Annotated[list[Any] | None, only([])] = None
    logprobs: list[Any] | None = None


Part = Annotated[InputTextPart | OutputTextPart, Field(discriminator="type")]


class InputMessage(Request):
    """A message for the model; an item that this server gave may be sent back as it is."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: str | Annotated[list[Part], Field(min_length=1)]
    id: Identifier | None = None
    status: Status | None = None
    phase: Refused = None

    @model_validator(mode="before")
    @classmethod
    def _only_messages(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(kind := value.get("type"), str) and kind != "message":
            raise unsupported(
                f"has type {kind[:64]!r}, which is not supported by this server; only 'message' is"
            )
        return value

    @property
    def text(self) -> str:
        """The content as one string."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class OutputText(Answer):
    """Text from the model."""

    type: Literal["output_text"] = "output_text"
    text: str
    annotations: list[Any] = Field(default_factory=list, max_length=0)
    logprobs: list[TokenLogprob] = Field(default_factory=list)


class InputText(Answer):
    """Text for the model."""

    type: Literal["input_text"] = "input_text"
    text: str


class MessageItem(Answer):
    """A message as it is kept."""

    id: str
    type: Literal["message"] = "message"
    status: Status
    role: Literal["user", "assistant", "system", "developer"]
    content: list[OutputText | InputText]


class ItemList(Answer):
    """A page of items; `last_id` is the next page's `after`. An empty page has empty ids."""

    object: Literal["list"] = "list"
    data: list[MessageItem]
    first_id: str
    last_id: str
    has_more: bool


def item_list(items: list[MessageItem], *, has_more: bool) -> ItemList:
    """Make a page of items."""
    first, last = (items[0].id, items[-1].id) if items else ("", "")
    return ItemList(data=items, first_id=first, last_id=last, has_more=has_more)
