"""What is asked of a DynamoDB table, as values and as the JSON of its API; makes no calls.

Attributes are strings and numbers, nothing else.
Source: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Types_Amazon_DynamoDB.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, str | int | float]
Key = tuple[str, str]  # pk, sk


@dataclass(frozen=True)
class Expression:
    """An update or condition: `#name` stands for the attribute, `:name` for one of the values."""

    text: str
    values: Row = field(default_factory=dict)


def changing(to: Row, by: Row | None = None, without: Sequence[str] = ()) -> Expression:
    """Set attributes `to` these values, add to those of `by`, which begin at zero, and remove some."""
    parts = {
        "SET": [f"#{name} = :{name}" for name in to],
        "ADD": [f"#{name} :{name}" for name in by or ()],
        "REMOVE": [f"#{name}" for name in without],
    }
    text = " ".join(f"{verb} {', '.join(changes)}" for verb, changes in parts.items() if changes)
    return Expression(text, {**to, **(by or {})})


@dataclass(frozen=True)
class Put:
    """Write a whole row."""

    row: Row
    condition: Expression | None = None


@dataclass(frozen=True)
class Update:
    """Change some attributes of a row."""

    key: Key
    change: Expression
    condition: Expression | None = None


@dataclass(frozen=True)
class Delete:
    """Remove a row."""

    key: Key
    condition: Expression | None = None


@dataclass(frozen=True)
class ConditionCheck:
    """Write nothing, and let nothing be written unless the row is as it should be."""

    key: Key
    condition: Expression


Action = Put | Update | Delete | ConditionCheck


def request_of(table: str, action: Action) -> dict[str, Any]:
    """Write an action as it stands in a transaction."""
    request: dict[str, Any] = {"TableName": table}
    match action:
        case Put(row):
            request["Item"] = {name: _typed(value) for name, value in row.items()}
            expressions = []
        case Update(key, change):
            request |= {"Key": key_of(key), "UpdateExpression": change.text}
            expressions = [change]
        case Delete(key) | ConditionCheck(key):
            request["Key"] = key_of(key)
            expressions = []
    if action.condition is not None:
        request["ConditionExpression"] = action.condition.text
        expressions.append(action.condition)
    both = Expression(
        " ".join(part.text for part in expressions),
        {name: value for part in expressions for name, value in part.values.items()},
    )
    return {type(action).__name__: request | bindings(both)}


def bindings(expression: Expression, more_names: Sequence[str] = ()) -> dict[str, Any]:
    """Bind every name through a placeholder: hundreds of words are reserved, `ttl` and `owner` among them."""
    names = [*re.findall(r"#(\w+)", expression.text), *more_names]
    bound: dict[str, Any] = {}
    if names:
        bound["ExpressionAttributeNames"] = {f"#{name}": name for name in names}
    if expression.values:
        bound["ExpressionAttributeValues"] = {f":{name}": _typed(v) for name, v in expression.values.items()}
    return bound


def key_of(key: Key) -> dict[str, Any]:
    """Write a key as DynamoDB's JSON."""
    return {"pk": {"S": key[0]}, "sk": {"S": key[1]}}


def _typed(value: str | int | float) -> dict[str, str]:
    return {"S": value} if isinstance(value, str) else {"N": repr(value)}


def plain(row: Mapping[str, Any]) -> Row:
    """Read a row from DynamoDB's JSON."""
    return {name: value["S"] if "S" in value else _number(value["N"]) for name, value in row.items()}


def _number(text: str) -> int | float:
    return int(text) if text.lstrip("-").isdigit() else float(text)
