"""The messages of a chat completion's request.

An answer may be sent back as OpenAI's own helpers hand it over: `parsed`, `parsed_arguments` and `index` are
what `parse()` and `stream()` add to it. They say nothing that the answer does not say, and are dropped.

Source: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from handler.schema.fields import Refused, Request, only
from handler.schema.tools import MAX_TOOLS, Arguments, CallId, FunctionName


class TextPart(Request):
    """A piece of a message's text; images, audio and files are refused."""

    type: Annotated[Literal["text"], only("text")]
    text: str
    prompt_cache_breakpoint: Refused = None


Content = str | Annotated[list[TextPart], Field(min_length=1)]


class _Message(Request):
    refusal: Refused = None
    function_call: Refused = None
    audio: Refused = None
    annotations: Annotated[list[Any] | None, only([])] = None

    @property
    def text(self) -> str:
        """The content as one string."""
        content: str | list[TextPart] | None = getattr(self, "content", None)
        return content if isinstance(content, str) else "".join(part.text for part in content or ())


class SpokenMessage(_Message):
    """What a user says, or whoever runs the server."""

    role: Literal["system", "developer", "user"]
    name: Refused = None
    content: Content
    tool_calls: Refused = None
    tool_call_id: Refused = None


class RequestedFunction(Request):
    """What a call calls, as the model wrote it."""

    name: FunctionName
    arguments: Arguments
    parsed_arguments: Any = None


class RequestedCall(Request):
    """A call that the model made."""

    id: CallId
    type: Annotated[Literal["function"], only("function")]
    function: RequestedFunction
    index: int | None = None


class AssistantInput(_Message):
    """What the model said, which may be sent back exactly as it came, with its empty fields."""

    role: Literal["assistant"]
    name: Refused = None
    content: Content | None = None
    tool_calls: Annotated[list[RequestedCall], Field(min_length=1, max_length=MAX_TOOLS)] | None = None
    tool_call_id: Refused = None
    parsed: Any = None

    @model_validator(mode="after")
    def _says_something(self) -> AssistantInput:
        if self.content is None and self.tool_calls is None:
            raise ValueError("'content' is required unless there are 'tool_calls'")
        return self


class ToolMessage(_Message):
    """What a called function returned; its name only repeats the call's."""

    role: Literal["tool"]
    name: FunctionName | None = None
    tool_call_id: CallId
    content: Content
    tool_calls: Refused = None


ChatMessage = Annotated[SpokenMessage | AssistantInput | ToolMessage, Field(discriminator="role")]
