"""What form an answer is asked to have: plain text, any JSON object, or JSON that a schema holds for.

Chat completions nest the schema in `json_schema`, Responses have its fields beside `type`. `strict` changes
nothing: a schema is followed either way.
Source: https://platform.openai.com/docs/guides/structured-outputs
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from handler.schema.fields import Answer, Request

FormatName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class PlainText(Request):
    """Text of any kind."""

    type: Literal["text"]


class JsonObject(Request):
    """Any JSON object."""

    type: Literal["json_object"]


class JsonSchema(Request):
    """A schema and what to call it."""

    name: FormatName
    schema_: dict[str, Any] = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


class ChatJsonSchema(Request):
    """JSON that a schema holds for, as chat completions ask for it."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


class ResponseJsonSchema(JsonSchema):
    """JSON that a schema holds for, as Responses ask for it."""

    type: Literal["json_schema"]


ChatFormat = Annotated[PlainText | JsonObject | ChatJsonSchema, Field(discriminator="type")]
ResponseFormat = Annotated[PlainText | JsonObject | ResponseJsonSchema, Field(discriminator="type")]


class PlainTextFacts(Answer):
    """Text of any kind."""

    type: Literal["text"] = "text"


class JsonObjectFacts(Answer):
    """Any JSON object."""

    type: Literal["json_object"] = "json_object"


class JsonSchemaFacts(Answer):
    """JSON that a schema holds for."""

    model_config = ConfigDict(serialize_by_alias=True)

    type: Literal["json_schema"] = "json_schema"
    name: str
    schema_: dict[str, Any] = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


class TextFacts(Answer):
    """How the text of a response looks."""

    format: Annotated[PlainTextFacts | JsonObjectFacts | JsonSchemaFacts, Field(discriminator="type")] = (
        Field(default_factory=PlainTextFacts)
    )
