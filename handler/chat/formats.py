"""The form that a request asks for -> the grammar that its answer follows."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from handler.engine.engine import Engine
from handler.engine.grammar import Grammar
from handler.engine.narrowing import narrowed
from handler.errors import InvalidRequest
from handler.schema.formats import (
    ChatJsonSchema,
    JsonObject,
    PlainText,
    ResponseJsonSchema,
    TextFacts,
)
from handler.schema.responses import TextConfig

Format = PlainText | JsonObject | ChatJsonSchema | ResponseJsonSchema


def grammar_of(engine: Engine, wanted: Format | None) -> Grammar | None:
    """Write what is asked for as a grammar that compiles; None where any text will do.

    A schema that cannot be followed when it is narrowed is followed as it is given.

    Raises: InvalidRequest naming the schema's field.
    """
    if wanted is None or isinstance(wanted, PlainText):
        return None
    schema, param = _schema_of(wanted)
    try:
        with suppress(InvalidRequest):
            return _compiled(engine, narrowed(schema))
        return _compiled(engine, schema)
    except InvalidRequest as error:
        raise about(error, param) from error


def about(error: InvalidRequest, param: str | None) -> InvalidRequest:
    """The error of a schema, with the field that the client knows it by."""
    name = f"'{param}'" if param else "the format"
    return type(error)(f"Invalid value for {name}: {error.message}", param=param, code="invalid_value")


def text_facts(config: TextConfig | None) -> TextFacts:
    """How a response tells the format in force."""
    if config is None or config.format is None:
        return TextFacts()
    return TextFacts.model_validate({"format": config.format.model_dump(by_alias=True)})


def _schema_of(wanted: JsonObject | ChatJsonSchema | ResponseJsonSchema) -> tuple[dict[str, Any], str | None]:
    if isinstance(wanted, JsonObject):
        return {"type": "object"}, None
    if isinstance(wanted, ChatJsonSchema):
        return wanted.json_schema.schema_, "response_format.json_schema.schema"
    return wanted.schema_, "text.format.schema"


def _compiled(engine: Engine, schema: Mapping[str, Any]) -> Grammar:
    grammar = Grammar.json_schema(schema)
    engine.grammars.check(grammar)
    return grammar
