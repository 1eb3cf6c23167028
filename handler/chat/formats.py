"""The form that a request asks for -> the grammar that its answer follows."""

from __future__ import annotations

from handler.engine.engine import Engine
from handler.engine.grammar import Grammar
from handler.engine.narrowing import narrowed
from handler.errors import InvalidRequest
from handler.schema.formats import (
    ChatJsonSchema,
    JsonObject,
    JsonSchema,
    PlainText,
    ResponseJsonSchema,
    TextFacts,
)
from handler.schema.responses import TextConfig

Format = PlainText | JsonObject | ChatJsonSchema | ResponseJsonSchema


def grammar_of(wanted: Format | None) -> Grammar | None:
    """Write what is asked for as a grammar; None where any text will do.

    Raises: InvalidRequest naming the schema's field.
    """
    if wanted is None or isinstance(wanted, PlainText):
        return None
    if isinstance(wanted, JsonObject):
        return Grammar.json_object()
    schema, param = _schema_of(wanted)
    try:
        return Grammar.json_schema(narrowed(schema.schema_))
    except InvalidRequest as error:
        raise _about(error, param) from error


def check_grammar(engine: Engine, wanted: Format | None, grammar: Grammar | None) -> None:
    """Compile the grammar before anything is answered. Raises: InvalidRequest naming the schema's field."""
    if grammar is None:
        return
    param = _schema_of(wanted)[1] if isinstance(wanted, ChatJsonSchema | ResponseJsonSchema) else None
    try:
        engine.grammars.check(grammar)
    except InvalidRequest as error:
        raise _about(error, param) from error


def text_facts(config: TextConfig | None) -> TextFacts:
    """How a response tells the format in force."""
    if config is None or config.format is None:
        return TextFacts()
    return TextFacts.model_validate({"format": config.format.model_dump(by_alias=True)})


def _schema_of(wanted: ChatJsonSchema | ResponseJsonSchema) -> tuple[JsonSchema, str]:
    if isinstance(wanted, ChatJsonSchema):
        return wanted.json_schema, "response_format.json_schema.schema"
    return wanted, "text.format.schema"


def _about(error: InvalidRequest, param: str | None) -> InvalidRequest:
    """The same error, with the field that the client knows it by."""
    name = f"'{param}'" if param else "the format"
    return type(error)(f"Invalid value for {name}: {error.message}", param=param, code="invalid_value")
