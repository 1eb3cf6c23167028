"""JSON schemas without what they allow only by their silence, where a small model finds no end.

Owns what is taken out. Knows no grammar and no model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

LARGEST_EXACT = 2**53 - 1  # of the integers that every reader of JSON agrees about
SMALLEST_STEP = 1e-9
_UNSAFE = ("allOf", "oneOf", "not", "if", "contains", "dependentSchemas", "multipleOf")
_OPEN = ("anyOf", "$ref", "patternProperties", "unevaluatedProperties")  # others may name properties
_BOUNDED = ("enum", "const")
_LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")

Schema = Mapping[str, Any]


def narrowed(schema: Schema) -> dict[str, Any]:
    """Take out what a schema allows only because it does not speak of it: a small model finds no end there.

    Properties that it does not name, integers that no double holds, and more than nine decimals go. What is
    left, the schema itself allows too, but it may be nothing: where no grammar can be made of it, take the
    schema as it is given. Schemas in which a narrower part could widen the whole, or two parts exclude each
    other, are left as they are.
    """
    text = json.dumps(schema)
    return dict(schema) if any(f'"{key}"' in text for key in _UNSAFE) else _narrowed(schema)


def _narrowed(schema: Schema) -> dict[str, Any]:
    narrow = dict(schema)
    for key in ("properties", "$defs", "definitions"):
        if isinstance(parts := schema.get(key), Mapping):
            narrow[key] = {name: _part(part) for name, part in parts.items()}
    if "items" in schema:
        narrow["items"] = _part(schema["items"])
    # What is named beside options belongs to the same object: an option that is closed would bar it.
    has_names = "properties" in schema or "required" in schema
    if isinstance(options := schema.get("anyOf"), list) and not has_names:
        narrow["anyOf"] = [_part(option) for option in options]
    if _names_all(schema):
        narrow.setdefault("additionalProperties", False)
    return {**narrow, **_bounds(schema)}


def _names_all(schema: Schema) -> bool:
    """Tell whether an object can do with the properties that the schema describes."""
    described, required = schema.get("properties"), schema.get("required", [])
    if not isinstance(described, Mapping) or any(key in schema for key in _OPEN):
        return False
    return isinstance(required, list) and all(str(name) in described for name in required)


def _part(value: Any) -> Any:
    return _narrowed(value) if isinstance(value, Mapping) else value


def _bounds(schema: Schema) -> dict[str, float]:
    """Bounds for a number that has none of its own. Source: https://www.rfc-editor.org/rfc/rfc8259#section-6"""
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if not {"integer", "number"} & set(map(str, kinds)) or any(key in schema for key in _BOUNDED):
        return {}
    found: dict[str, float] = {"minimum": -LARGEST_EXACT, "maximum": LARGEST_EXACT}
    given = {key: schema[key] for key in _LIMITS if isinstance(schema.get(key), int | float)}
    if not all(-LARGEST_EXACT < value < LARGEST_EXACT for value in given.values()):
        return {}
    if "number" in kinds:
        found["multipleOf"] = SMALLEST_STEP
    return found | given
