"""The grammar of an answer that may, or has to, call functions: llguidance's variant of Lark, as text.

Owns what may stand where. Text runs on until it writes the call's marker; from there on only a call of a
known function with arguments by its schema is possible, so that a call that ends is always one that parses.
Source: https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md
Knows no tokens but those of control, no masks, nor where schemas come from.
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
    control: Mapping[str, int],
    form: Grammar | None = None,
    as_given: Collection[str] = (),
) -> Grammar:
    """Write the grammar: text or calls, at most `most` of them; with `required`, calls alone.

    `functions` maps each name that may be called to the JSON schema of its arguments, an object's. `control`:
    the control tokens that come out as text, with their ids; where the syntax has one of them, it is written
    as that token, and the others (`<think>`) may stand in text. `form`: what an answer without calls has to
    follow; it must not begin as a call does. `as_given`: the functions whose schemas are not narrowed.

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
    else:
        others = {id_ for token, id_ in control.items() if token not in syntax.marker + syntax.closing}
        start = _text_or_calls(syntax, mark, calls, _any_of(others))
    rules = [f"rest: {_quote(opening)} ({names}) {closing}"]
    rules += [
        f"arguments_{at}: {json_rule(schema if name in as_given else narrowed(schema))}"
        for at, (name, schema) in enumerate(functions.items())
    ]
    return Grammar.lark("\n".join([*start, *rules, ""]))


def _text_or_calls(syntax: CallSyntax, mark: str, calls: str, shown: str) -> list[str]:
    """Write the rules of an answer that is free until it calls; control tokens that are `shown` are text."""
    text = r"/(.|\n)*/"
    if syntax.alone:  # told apart by the first character
        more = shown and f" ({shown} {text})*"
        return [f"start: text | {mark} {calls}", f"text: /([^{syntax.marker}](.|\\n)*)?/{more}"]
    said = shown and f"(TEXT {shown})* "
    return [  # spelled in ordinary tokens, a marker is one as well
        f"start: {said}TEXT | {said}opened {calls}",
        "opened: spelled" + ("" if mark.startswith('"') else f" | TEXT {mark}"),
        f"spelled[lazy]: TEXT {_quote(syntax.marker)}",
        f"TEXT: {text}",
    ]


def _any_of(ids: set[int]) -> str:
    """Write one token of these as the grammar has it, in ranges: some vocabularies have thousands."""
    first = sorted(id_ for id_ in ids if id_ - 1 not in ids)
    last = sorted(id_ for id_ in ids if id_ + 1 not in ids)
    ranges = ",".join(f"{start}-{end}" for start, end in zip(first, last, strict=True))
    return ranges and f"<[{ranges}]>"


def _words(text: str, control: Collection[str]) -> str:
    """Write a text as the grammar has it: the control token in it by its name, the rest as it stands."""
    token = next((token for token in control if token in text and token[0] + token[-1] == "<>"), None)
    if token is None:
        return _quote(text)
    before, _, after = text.partition(token)
    return " ".join([*([_quote(before)] if before else []), token, *([_quote(after)] if after else [])])


def _quote(text: str) -> str:
    return json.dumps(text)
