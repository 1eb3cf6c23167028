"""A request's functions and its choice among them -> what the model is shown, and what it may write.

Checks what no single field tells. Knows nothing of how an answer is made or told.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from handler.chat.formats import about
from handler.engine.call_grammar import call_grammar
from handler.engine.call_syntax import CallSyntax
from handler.engine.engine import Engine
from handler.engine.grammar import MAX_MULTIPLES, Grammar, multiples_of
from handler.errors import InvalidRequest, InvalidValue, Unsupported
from handler.schema.responses import ResponseRequest
from handler.schema.tools import (
    AllowedToolsFacts,
    Choice,
    FunctionDefinition,
    FunctionToolFacts,
    Mode,
    NamedToolFacts,
    ResponseAllowedChoice,
    ResponseNamedTool,
)

NO_PARAMETERS = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True)
class Toolbox:
    """`shown` goes into the prompt, as chat templates read it; calls can come where there is a `syntax`."""

    shown: tuple[Mapping[str, Any], ...] = ()
    syntax: CallSyntax | None = None
    grammar: Grammar | None = None


@dataclass(frozen=True)
class ToolFacts:
    """What a response tells of the functions that it was made with."""

    functions: tuple[FunctionToolFacts, ...] = ()
    choice: Mode | NamedToolFacts | AllowedToolsFacts = "auto"
    parallel: bool = True

    @classmethod
    def of(cls, request: ResponseRequest) -> ToolFacts:
        """Tell what a request said; calls keep to the schema in any case, which is what `strict` says."""
        functions = (
            FunctionToolFacts(
                name=tool.name,
                description=tool.description,
                parameters=tool.parameters,
                strict=tool.strict is not False,
            )
            for tool in request.tools or ()
        )
        choice = request.tool_choice
        chosen: Mode | NamedToolFacts | AllowedToolsFacts = choice if isinstance(choice, str) else "auto"
        if isinstance(choice, ResponseNamedTool):
            chosen = NamedToolFacts(name=choice.name)
        elif isinstance(choice, ResponseAllowedChoice):
            named = [NamedToolFacts(name=tool.name) for tool in choice.tools]
            chosen = AllowedToolsFacts(mode=choice.mode, tools=named)
        return cls(tuple(functions), chosen, request.parallel_tool_calls is not False)

    def again(self, request: ResponseRequest) -> ToolFacts:
        """Take them over for a continued answer. Raises: InvalidRequest where the request asks for others."""
        asked = ToolFacts.of(request)
        for name, given, same in (
            ("tools", request.tools, asked.functions == self.functions),
            ("tool_choice", request.tool_choice, asked.choice == self.choice),
            ("parallel_tool_calls", request.parallel_tool_calls, asked.parallel == self.parallel),
        ):
            if given is not None and not same:
                raise InvalidRequest(f"A continued answer keeps its {name}; leave the field out.", param=name)
        return self


def toolbox_of(
    engine: Engine,
    functions: Sequence[FunctionDefinition],
    choice: Choice,
    *,
    parallel: bool | None,
    where: str,
    form: Grammar | None = None,
    check_time: Callable[[], None],
) -> Toolbox:
    """Check functions and choice, and make of them what an answer needs.

    `where` is a function's place in the request, `tools[{}].function` for the one at `{}`. With the choice
    "none" the model is not even shown the functions. `form` is what an answer without calls has to follow.
    `check_time` is called between two compilations.

    Raises: InvalidRequest naming the field; what `check_time` raises.
    """
    schemas = _schemas(functions, where)
    for name, param in (choice.names or {}).items():
        if name not in schemas:
            raise InvalidValue(f"there is no function {name!r} in 'tools'", param=param)
    if choice.mode == "required" and not schemas:
        raise InvalidValue("there are no 'tools' that could be called", param="tool_choice")
    if choice.mode == "none" or not schemas:
        return Toolbox(grammar=form)
    syntax = engine.prompt.call_syntax
    if form is not None and syntax.alone and choice.mode == "auto":
        raise Unsupported(
            "'tools' are not supported together with a format: this model writes calls as JSON, too.",
            param="tools",
        )
    callable_ = {name: schema for name, schema in schemas.items() if name in (choice.names or schemas)}
    if multiples_of(callable_.values()) > MAX_MULTIPLES:
        raise InvalidValue(
            f"all values of multipleOf together may come to {MAX_MULTIPLES} at most", param="tools"
        )
    most = 1 if parallel is False else choice.most

    def grammar_of(some: Mapping[str, Mapping[str, Any]], as_given: Collection[str] = ()) -> Grammar:
        grammar = call_grammar(
            syntax,
            some,
            required=choice.mode == "required",
            most=most,
            control=engine.prompt.shown_control,
            form=form,
            as_given=as_given,
        )
        engine.grammars.check(grammar)
        return grammar

    shown = tuple(map(_shown, functions))
    with suppress(InvalidRequest):
        return Toolbox(shown, syntax, grammar_of(callable_))
    as_given = _only_as_given(grammar_of, schemas, where, check_time)
    try:
        return Toolbox(shown, syntax, grammar_of(callable_, as_given))
    except InvalidRequest:
        raise InvalidValue("all together they are too much for one grammar", param="tools") from None


def _only_as_given(
    grammar_of: Callable[..., Grammar],
    schemas: Mapping[str, Mapping[str, Any]],
    where: str,
    check_time: Callable[[], None],
) -> set[str]:
    """Find the functions whose schemas make no grammar when they are narrowed.

    Raises: InvalidRequest naming the first that makes none as it is given either.
    """
    found: set[str] = set()
    for at, (name, schema) in enumerate(schemas.items()):
        check_time()
        try:
            grammar_of({name: schema})
        except InvalidRequest:
            found.add(name)
        try:
            grammar_of({name: schema}, found)
        except InvalidRequest as error:
            raise about(error, f"{where.format(at)}.parameters") from error
    return found


def _schemas(functions: Sequence[FunctionDefinition], where: str) -> dict[str, Mapping[str, Any]]:
    schemas: dict[str, Mapping[str, Any]] = {}
    for at, function in enumerate(functions):
        if function.name in schemas:
            raise InvalidValue(
                f"there is another function {function.name!r}", param=f"{where.format(at)}.name"
            )
        schemas[function.name] = function.parameters or NO_PARAMETERS
    return schemas


def _shown(function: FunctionDefinition) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": function.name}
    if function.description is not None:
        facts["description"] = function.description
    facts["parameters"] = function.parameters or {"type": "object", "properties": {}}
    return {"type": "function", "function": facts}
