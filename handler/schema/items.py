"""The items of a conversation as OpenAI writes them, in and out: messages, calls of functions, their results.

An answer may be sent back as OpenAI's own helpers hand it over: `parsed` and `parsed_arguments`, which they
add to it, say nothing new and are dropped.

Source: https://platform.openai.com/docs/api-reference/conversations
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, RootModel, Tag, ValidationInfo, field_validator

from handler.schema.chat_completions import TokenLogprob
from handler.schema.fields import Answer, Identifier, Refused, Request, only, only_types
from handler.schema.tools import CallId, FunctionName, json_object

MAX_ITEMS_PER_CALL = 20
"""Source: https://platform.openai.com/docs/api-reference/conversations/create-items"""

Status = Literal["in_progress", "completed", "incomplete"]
Includable = Annotated[Literal["message.output_text.logprobs"], only("message.output_text.logprobs")]
"""What may be asked for beside what is given anyway."""


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
    parsed: Any = None


Part = Annotated[
    InputTextPart | OutputTextPart,
    Field(discriminator="type"),
    only_types("input_text", "text", "output_text"),
]


class InputMessage(Request):
    """A message for the model; an item that this server gave may be sent back as it is."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: str | Annotated[list[Part], Field(min_length=1)]
    id: Identifier | None = None
    status: Status | None = None
    phase: Refused = None

    @property
    def text(self) -> str:
        """The content as one string."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class InputCall(Request):
    """A call that the model made, told to it again; of one that was cut, the arguments are no JSON yet."""

    type: Literal["function_call"]
    call_id: CallId
    name: FunctionName
    status: Status | None = None
    arguments: str
    parsed_arguments: Any = None
    id: Identifier | None = None
    asynchronous: Annotated[bool | None, only(False)] = Field(default=None, alias="async")
    caller: Refused = None
    namespace: Refused = None
    created_by: Refused = None

    @field_validator("arguments")
    @classmethod
    def _whole(cls, arguments: str, info: ValidationInfo) -> str:
        return arguments if info.data.get("status") == "incomplete" else json_object(arguments)


OutputPart = Annotated[InputTextPart, only_types("input_text", "text")]


class InputCallOutput(Request):
    """What a called function returned."""

    type: Literal["function_call_output"]
    call_id: CallId
    output: str | Annotated[list[OutputPart], Field(min_length=1)]
    id: Identifier | None = None
    status: Status | None = None
    caller: Refused = None
    name: Refused = None
    namespace: Refused = None
    created_by: Refused = None

    @property
    def text(self) -> str:
        """The output as one string."""
        return self.output if isinstance(self.output, str) else "".join(part.text for part in self.output)


class ItemReference(Request):
    """An item of an answer that is kept, named instead of told again."""

    type: Literal["item_reference"]
    id: Identifier


def _kind(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return kind if kind in ("function_call", "function_call_output", "item_reference") else "message"


ToldItem = InputMessage | InputCall | InputCallOutput
InputItem = Annotated[
    Annotated[InputMessage, Tag("message")]
    | Annotated[InputCall, Tag("function_call")]
    | Annotated[InputCallOutput, Tag("function_call_output")]
    | Annotated[ItemReference, Tag("item_reference")],
    Discriminator(_kind),
    only_types("message", "function_call", "function_call_output", "item_reference"),
]


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


class CallItem(Answer):
    """A call of a function; `arguments` is JSON in a string, whole once the status is `completed`."""

    id: str
    type: Literal["function_call"] = "function_call"
    status: Status
    call_id: str
    name: str
    arguments: str


class CallOutputItem(Answer):
    """What a function returned."""

    id: str
    type: Literal["function_call_output"] = "function_call_output"
    status: Status
    call_id: str
    output: str


ShownItem = Annotated[MessageItem | CallItem | CallOutputItem, Field(discriminator="type")]
OutputItem = Annotated[MessageItem | CallItem, Field(discriminator="type")]


class AnyItem(RootModel[ShownItem]):
    """One item, of any type."""


class ItemList(Answer):
    """A page of items; `last_id` is the next page's `after`. An empty page has empty ids."""

    object: Literal["list"] = "list"
    data: list[ShownItem]
    first_id: str
    last_id: str
    has_more: bool


def item_list(items: list[ShownItem], *, has_more: bool) -> ItemList:
    """Make a page of items."""
    first, last = (items[0].id, items[-1].id) if items else ("", "")
    return ItemList(data=items, first_id=first, last_id=last, has_more=has_more)
