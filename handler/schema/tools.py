"""Functions that the model may call: how requests describe them, choose among them, and hear of it again.

Source: https://platform.openai.com/docs/guides/function-calling. Chat completions nest the function's fields,
responses do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic_core import from_json

from handler.schema.fields import Answer, Refused, Request, only, only_types

MAX_TOOLS = 128
"""Source: https://platform.openai.com/docs/api-reference/chat/create"""
MAX_CALLS = 8
"""Of one answer."""
MAX_DESCRIPTION_CHARACTERS = 8192
MAX_CALL_ID_CHARACTERS = 128

FunctionName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
CallId = Annotated[str, Field(min_length=1, max_length=MAX_CALL_ID_CHARACTERS)]
Mode = Literal["none", "auto", "required"]


def _object_schema(schema: dict[str, Any] | None) -> dict[str, Any] | None:
    if schema is not None and schema.get("type") != "object":
        raise ValueError('expected a JSON schema of an object, with "type": "object"')
    return schema


def json_object(text: str) -> str:
    """Check the arguments of a whole call; none at all are an empty object. Raises: ValueError."""
    try:
        value = from_json(text or "{}", allow_inf_nan=False)
    except ValueError as error:
        raise ValueError(f"expected a JSON object as a string, but it is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("expected a JSON object as a string, but it is JSON of another type")
    return text or "{}"


Arguments = Annotated[str, AfterValidator(json_object)]


class Tool(Request):
    """What every tool says first; tools of OpenAI's own are refused by it."""

    type: Annotated[Literal["function"], only("function")]


class FunctionDefinition(Request):
    """A function; without `parameters` it takes none. Calls keep to the schema, `strict` or not."""

    name: FunctionName
    description: Annotated[str, Field(max_length=MAX_DESCRIPTION_CHARACTERS)] | None = None
    parameters: Annotated[dict[str, Any] | None, AfterValidator(_object_schema)] = None
    strict: bool | None = None


class ChatTool(Tool):
    """A function in a chat completion's request."""

    function: FunctionDefinition


class ResponseTool(FunctionDefinition, Tool):
    """A function in a response's request."""

    asynchronous: Annotated[bool | None, only(False)] = Field(default=None, alias="async")
    defer_loading: Annotated[bool | None, only(False)] = None
    allowed_callers: Annotated[list[str] | None, only(["direct"])] = None
    output_schema: Refused = None


@dataclass(frozen=True)
class Choice:
    """Whether functions are to be called, and which; the names with the fields that they are written in."""

    mode: Mode
    names: Mapping[str, str] | None = None
    """Of functions, each with its `param`; None: every one."""
    most: int = MAX_CALLS


class ChosenFunction(Request):
    """A function by its name."""

    name: FunctionName


class ChatNamedTool(Request):
    """A function that is to be called; in a list, one that may be."""

    type: Literal["function"]
    function: ChosenFunction


class ChatAllowedTools(Request):
    """Some of the functions."""

    mode: Literal["auto", "required"]
    tools: Annotated[
        list[Annotated[ChatNamedTool, only_types("function")]], Field(min_length=1, max_length=MAX_TOOLS)
    ]


class ChatAllowedChoice(Request):
    """Only some of the functions may be called."""

    type: Literal["allowed_tools"]
    allowed_tools: ChatAllowedTools


class ResponseNamedTool(ChosenFunction):
    """A function that is to be called; in a list, one that may be."""

    type: Literal["function"]


class ResponseAllowedChoice(Request):
    """Only some of the functions may be called."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[
        list[Annotated[ResponseNamedTool, only_types("function")]], Field(min_length=1, max_length=MAX_TOOLS)
    ]


_only_functions = only_types("function", "allowed_tools")
ChatToolChoice = (
    Mode | Annotated[ChatNamedTool | ChatAllowedChoice, Field(discriminator="type"), _only_functions]
)
ResponseToolChoice = (
    Mode | Annotated[ResponseNamedTool | ResponseAllowedChoice, Field(discriminator="type"), _only_functions]
)


def choice_of(given: ChatToolChoice | ResponseToolChoice | None) -> Choice:
    """OpenAI's ways to write it, of both APIs -> one."""
    if isinstance(given, ChatNamedTool):
        return Choice("required", {given.function.name: "tool_choice.function.name"}, most=1)
    if isinstance(given, ResponseNamedTool):
        return Choice("required", {given.name: "tool_choice.name"}, most=1)
    if isinstance(given, ChatAllowedChoice):
        where, allowed = "tool_choice.allowed_tools.tools", given.allowed_tools
        chosen = {tool.function.name: f"{where}[{at}].function.name" for at, tool in enumerate(allowed.tools)}
        return Choice(allowed.mode, chosen)
    if isinstance(given, ResponseAllowedChoice):
        named = {tool.name: f"tool_choice.tools[{at}].name" for at, tool in enumerate(given.tools)}
        return Choice(given.mode, named)
    return Choice(given or "auto")


class FunctionToolFacts(Answer):
    """A function as a response tells it."""

    type: Literal["function"] = "function"
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class NamedToolFacts(Answer):
    """The function that was to be called."""

    type: Literal["function"] = "function"
    name: str


class AllowedToolsFacts(Answer):
    """The functions that might be called."""

    type: Literal["allowed_tools"] = "allowed_tools"
    mode: Literal["auto", "required"]
    tools: list[NamedToolFacts]


class CalledFunction(Answer):
    """Name and arguments of a call; `arguments` is JSON in a string."""

    name: str
    arguments: str


class MessageToolCall(Answer):
    """A call in a chat completion's message."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction
