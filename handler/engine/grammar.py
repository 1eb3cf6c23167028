"""What an answer may look like, as plain data: a Lark grammar, or one made of a JSON schema.

Owns the form of constrained JSON and which schemas are taken. A grammar is text, so that it can be kept
beside an answer and followed by another process. Knows nothing of tokens or of the parser.
Source: https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md and docs/json_schema.md there
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeGuard

from handler.errors import InvalidRequest

MAX_GRAMMAR_BYTES = 64 << 10
MAX_DEPTH = 64  # of a schema; the parser's own JSON reader stops at 128
MAX_LENGTH = 10_000  # of minLength and the like: a count is unrolled
MAX_MULTIPLE = 10_000  # of multipleOf: divisibility takes as many states, and a minute at a million
MAX_MULTIPLES = 40_000  # of all of them in one grammar, which has as many states; half a second
COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
LITERALS = ("const", "enum", "default", "examples")  # what they hold is no schema
EXCLUDED = {  # with the bounds on the other side
    "exclusiveMinimum": ("maximum", "exclusiveMaximum"),
    "exclusiveMaximum": ("minimum", "exclusiveMinimum"),
}
OPTIONS_KEY = "x-guidance"  # under it a schema would set the parser's options
# One space after a comma and a colon, none elsewhere, as most JSON in training data without line breaks has
# it. White space where the grammar leaves it open is where small models go round for ever; and what is not
# open is forced, which costs a draft instead of a step.
OPTIONS = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


@dataclass(frozen=True, slots=True)
class Grammar:
    """Text that an answer has to follow to its end."""

    text: str  # Lark

    @classmethod
    def lark(cls, text: str) -> Grammar:
        """A Lark grammar: `%json {...}` embeds a schema, `<name>` is a control token.

        Write schemas with `json_rule`. Whether it is a grammar at all is found out where it is compiled.
        """
        if len(text.encode()) > MAX_GRAMMAR_BYTES:
            raise InvalidRequest(f"A grammar may have {MAX_GRAMMAR_BYTES} bytes at most.")
        return cls(text)

    @classmethod
    def json_schema(cls, schema: Mapping[str, Any]) -> Grammar:
        """A JSON value that the schema holds for; properties come in the order in which it names them.

        Raises: InvalidRequest when the schema is too large or no JSON.
        """
        return cls.lark(f"start: {json_rule(schema)}")


def json_rule(schema: Mapping[str, Any]) -> str:
    """Write a JSON schema as the body of a rule of a Lark grammar.

    Raises: InvalidRequest when the schema is too large or no JSON.
    """
    multiples = []
    for node, depth in _nodes(schema, 0):
        if depth > MAX_DEPTH:
            raise InvalidRequest(f"A schema may be nested {MAX_DEPTH} levels deep at most.")
        if isinstance(node, Mapping):
            _check_node(node)
            multiples += _multiples(node)
    if _common_multiple(multiples) > MAX_MULTIPLE:  # what an intersection of schemas comes to
        raise InvalidRequest(
            f"The schema's values of multipleOf may have a common multiple of {MAX_MULTIPLE} at most, "
            "counted in their smallest decimal place."
        )
    try:
        text = json.dumps({**_kept(schema), OPTIONS_KEY: OPTIONS}, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError) as error:  # a UnicodeEncodeError is a ValueError
        raise InvalidRequest(f"The schema is no JSON: {error}.") from error
    return f"%json {text}"


def multiples_of(schemas: Iterable[Mapping[str, Any]]) -> int:
    """Add up what divisibility takes in one grammar of all these schemas; see `MAX_MULTIPLES`.

    What is too large by itself is not counted: `json_rule` refuses that schema.
    """
    found: set[int] = set()
    for schema in schemas:
        values = [
            value for node, _ in _nodes(schema, 0) if isinstance(node, Mapping) for value in _multiples(node)
        ]
        found |= {_common_multiple(values), *(_common_multiple([value]) for value in values)}
    return sum(value for value in found if value <= MAX_MULTIPLE)


def _check_node(node: Mapping[str, Any]) -> None:
    if OPTIONS_KEY in node:
        raise InvalidRequest(f"The schema's keyword {OPTIONS_KEY!r} is not supported.")
    for name in COUNTS:
        value = node.get(name)
        if isinstance(value, int | float) and value > MAX_LENGTH:
            raise InvalidRequest(f"The schema's {name} may be {MAX_LENGTH} at most, not {value}.")


def _kept(value: Any) -> Any:
    """Write a schema so that llguidance (1.9) keeps to it."""
    if isinstance(value, list | tuple):
        return [_kept(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    kept = {name: item if name in LITERALS else _kept(item) for name, item in value.items()}
    return kept | _moved_bounds(value)


def _moved_bounds(node: Mapping[str, Any]) -> dict[str, float]:
    """Move excluded bounds by a millionth of what is allowed: a whole number is let in all the same, written
    without decimals, where the other bound is less than one away.
    """
    moved: dict[str, float] = {}
    for name, others in EXCLUDED.items():
        bound = node.get(name)
        for other in map(node.get, others):
            if _has_decimals(bound) and _has_decimals(other) and 0 < abs(other - bound) < 1:
                moved[name] = bound + (other - bound) * 1e-6
    return moved


def _has_decimals(value: Any) -> TypeGuard[float]:
    """Tell a number that is small enough for a double to have decimals beside it from everything else."""
    return isinstance(value, int | float) and abs(value) < 2**32


def _multiples(node: Mapping[str, Any]) -> list[Decimal]:
    """The node's multipleOf, if it is a number above 0; the parser refuses others."""
    value = node.get("multipleOf")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        return []
    return [Decimal(str(value))]


def _common_multiple(values: Sequence[Decimal]) -> int:
    """The least common multiple, in units of the smallest decimal place that any of them has."""
    places = max((-int(value.as_tuple().exponent) for value in values), default=0)
    return math.lcm(*(int(value.scaleb(max(places, 0))) for value in values))


def _nodes(value: Any, depth: int) -> Iterator[tuple[Any, int]]:
    """Everything in a schema with its depth; one step too deep is told, and not gone into."""
    yield value, depth
    if depth > MAX_DEPTH:
        return
    children: Sequence[Any] = ()
    if isinstance(value, Mapping):
        children = list(value.values())
    elif isinstance(value, list | tuple):
        children = value
    for child in children:
        yield from _nodes(child, depth + 1)
