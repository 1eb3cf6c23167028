"""Functions, calls and results as plain text, for chat templates that know nothing of them.

The words are ours; the call syntax is the one that most models have seen. Results come as the user's words
do, since such templates have no other place for them. Knows nothing of ids or of how a template renders.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from handler.engine.call_syntax import HERMES, Tools

Message = Mapping[str, Any]

RESULT = "<tool_response>\n{}\n</tool_response>"
INTRODUCTION = """\
You can call functions. Each line describes one:
{functions}
To call one, write nothing but its name and arguments, like this:
{example}
Its result comes back between <tool_response> and </tool_response>."""


def as_plain_text(messages: Sequence[Message], tools: Tools | None) -> list[Message]:
    """Write everything about functions into the contents of ordinary messages."""
    plain: list[Message] = []
    for message in messages:
        if message.get("role") == "tool":
            result = RESULT.format(message.get("content") or "")
            if plain and plain[-1].get("results"):
                result = f"{plain.pop()['content']}\n{result}"
            plain.append({"role": "user", "content": result, "results": True})
        elif message.get("tool_calls"):
            plain.append({"role": message["role"], "content": _with_calls(message)})
        else:
            plain.append(message)
    if tools:
        plain = _introduced(plain, tools)
    return [{key: value for key, value in message.items() if key != "results"} for message in plain]


def _with_calls(message: Message) -> str:
    functions = [call["function"] for call in message["tool_calls"]]
    calls = [_written(function["name"], function["arguments"]) for function in functions]
    return HERMES.separator.join([*filter(None, [message.get("content")]), *calls])


def _written(name: str, arguments: Any) -> str:
    """Write a call; the words around it come once each, whatever its arguments say."""
    call = HERMES.write(name, arguments)
    inner = call[len(HERMES.opening) : -len(HERMES.closing)].replace("tool_call>", "tool_call\\u003e")
    return f"{HERMES.opening}{inner}{HERMES.closing}"


def _introduced(messages: list[Message], tools: Tools) -> list[Message]:
    lines = (json.dumps(tool.get("function", tool), ensure_ascii=False) for tool in tools)
    example = HERMES.write("name", {"argument": "value"})
    text = INTRODUCTION.format(functions="\n".join(lines), example=example)
    if messages and messages[0].get("role") in ("system", "developer"):
        first = {**messages[0], "content": f"{messages[0]['content']}\n\n{text}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]
