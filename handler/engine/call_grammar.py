"""The grammar of an answer that may, or has to, call functions: llguidance's variant of Lark, as text.

Owns what may stand where. Text runs on until it writes the call's marker; from there on only a call of a
known function with arguments by its schema is possible, so that a call that ends is always one that parses.
Source: https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md
Knows nothing of tokens, masks or where schemas come from.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from handler.engine.call_syntax import CallSyntax
from handler.engine.grammar import Grammar, json_rule
from handler.engine.narrowing import narrowed

Schema = Mapping[str, Any]


def call_grammar(
    syntax: CallSyntax,
    functions: Mapping[str, Schema],
    *,
    required: bool,
    most: int,
    control: Collection[str] = (),
    form: Grammar | None = None,
    as_given: Collection[str] = (),
) -> Grammar:
    """Write the grammar: text or calls, at most `most` of them; with `required`, calls alone.

    `functions` maps each name that may be called to the JSON schema of its arguments, an object's. `control`:
    the control tokens that come out as text; where the syntax has one of them, it is written as that token.
    `form`: what an answer without calls has to follow; it must not begin as a call does. `as_given`: the
    functions whose schemas are not narrowed.

    Raises: InvalidRequest for a schema that is not taken.
    """
    mark = _words(syntax.marker, control)
    names = " | ".join(f"{_quote(name + syntax.between)} arguments_{at}" for at, name in enumerate(functions))
    opening, closing = syntax.opening[len(syntax.marker) :], _words(syntax.closing, control)
    more = f"({_quote(syntax.separator)} {mark} rest){{0,{most - 1}}}"
    calls = "rest" if syntax.alone or most == 1 else f"rest {more}"
    if required:
        start = [f"start: {mark} {calls}"]
    elif form is not None:
        start = [form.text.replace("start:", "form:", 1), f"start: form | {mark} {calls}"]
    elif syntax.alone:  # told apart by the first character
        start = [f"start: text | {mark} {calls}", f"text: /([^{syntax.marker}](.|\\n)*)?/"]
    else:  # spelled in ordinary tokens, a marker is one as well
        start = [
            f"start: TEXT | opened {calls}",
            "opened: spelled" + ("" if mark.startswith('"') else f" | TEXT {mark}"),
            f"spelled[lazy]: TEXT {_quote(syntax.marker)}",
            r"TEXT: /(.|\n)*/",
        ]
    rules = [f"rest: {_quote(opening)} ({names}) {closing}"]
    rules += [
        f"arguments_{at}: {json_rule(schema if name in as_given else narrowed(schema))}"
        for at, (name, schema) in enumerate(functions.items())
    ]
    return Grammar.lark("\n".join([*start, *rules, ""]))


def _words(text: str, control: Collection[str]) -> str:
    """Write a text as the grammar has it: the control token in it by its name, the rest as it stands."""
    token = next((token for token in control if token in text and token[0] + token[-1] == "<>"), None)
    if token is None:
        return _quote(text)
    before, _, after = text.partition(token)
    return " ".join([*([_quote(before)] if before else []), token, *([_quote(after)] if after else [])])


def _quote(text: str) -> str:
    return json.dumps(text)
