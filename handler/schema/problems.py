"""What pydantic found wrong -> one `InvalidRequest`: which field, what it was, what is allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from handler.errors import InvalidRequest, Unsupported

Problem = Mapping[str, Any]

EXPECTED = {
    "string_type": "a string",
    "string_unicode": "a string of whole characters",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "a boolean",
    "bool_parsing": "a boolean",
    "list_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "none_required": "null",
}

LIMITS = {
    "less_than_equal": ("a value of at most {le}", "above_max_value"),
    "greater_than_equal": ("a value of at least {ge}", "below_min_value"),
    "too_long": ("at most {max_length} entries, got {actual_length}", "array_above_max_length"),
    "too_short": ("at least {min_length} entries, got {actual_length}", "array_below_min_length"),
    "string_too_long": ("a string of at most {max_length} characters", "string_above_max_length"),
    "string_too_short": ("a string of at least {min_length} characters", "string_below_min_length"),
    "string_pattern_mismatch": ("a string that matches {pattern}", "invalid_value"),
    "finite_number": ("a finite number", "invalid_value"),
    "literal_error": ("{expected}", "invalid_value"),
    "union_tag_invalid": ("one of {expected_tags}", "invalid_value"),
}

MISSING = ("missing", "union_tag_not_found")
TAGS = ("union_tag_invalid", "union_tag_not_found")


def invalid_request(problems: Sequence[Problem], body: Any) -> InvalidRequest:
    """Tell the client of the deepest problem; branches of a union that all fail alike are told as one.

    A problem's `loc` starts below `body` and holds names of union branches that a client never wrote: its
    path is what of it can be followed through the body.
    """
    paths = [_path(problem, body) for problem in problems]
    depth = max(len(path) for path in paths)
    path = next(path for path in paths if len(path) == depth)
    here = [problem for problem, other in zip(problems, paths, strict=True) if other == path]
    return _tell(here, _spell(path))


def _tell(here: Sequence[Problem], param: str | None) -> InvalidRequest:
    first = next((p for p in here if p["type"] not in EXPECTED), here[0])
    kind, context = first["type"], first.get("ctx") or {}
    name = f"'{param}'" if param else "the request body"
    if kind == "unsupported_parameter":
        return Unsupported(f"{name} {context['message']}.", param=param)
    if kind == "fields_disagree":
        return InvalidRequest(f"{name} {context['message']}.", param=param, code=context["code"])
    if kind in MISSING:
        message, code = f"Missing required parameter: {name}.", "missing_required_parameter"
    elif kind == "extra_forbidden":
        message, code = f"Unknown parameter: {name}.", "unknown_parameter"
    elif kind in EXPECTED:
        wanted = " or ".join(dict.fromkeys(EXPECTED[p["type"]] for p in here))
        got = _describe(first.get("input"))
        message, code = f"Invalid type for {name}: expected {wanted}, but got {got}.", "invalid_type"
    elif kind in LIMITS:
        wanted, code = LIMITS[kind]
        message = f"Invalid value for {name}: expected {wanted.format(**context)}."
    elif kind == "value_error":
        message, code = f"Invalid value for {name}: {context['error']}.", "invalid_value"
    else:
        message, code = f"Invalid value for {name}: {first['msg']}.", "invalid_value"
    return InvalidRequest(message, param=param, code=code)


def _path(problem: Problem, body: Any) -> tuple[str | int, ...]:
    path: list[str | int] = []
    loc, context = problem["loc"], problem.get("ctx") or {}
    if problem["type"] in TAGS:  # the field that tells the branches of a union apart is what is wrong
        loc = (*loc, str(context["discriminator"]).strip("'"))
    elif context.get("field"):
        loc = (*loc, context["field"])
    for position, step in enumerate(loc):
        last = position == len(loc) - 1
        if (
            isinstance(body, dict)
            and isinstance(step, str)
            and (step in body or (last and problem["type"] in MISSING))
        ):
            path.append(step)
            body = body.get(step)
        elif isinstance(body, list) and isinstance(step, int) and step < len(body):
            path.append(step)
            body = body[step]
    return tuple(path)


def _spell(path: Sequence[str | int]) -> str | None:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    clean = text.lstrip(".")[:200].encode("utf-8", "replace").decode()
    return clean or None


def _describe(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", int: "an integer"}
    if value is None:
        return "null"
    return names.get(type(value), "a number")
