"""How a model writes a function call, read off its chat template by rendering one.

    Hermes, Qwen    <tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>    after text, or several
    Llama 3.x       {"name": "f", "parameters": {"x": 1}}                              alone
    others          as if their template knew no calls: Mistral's, say, refuses ids like ours

Owns the words around name and arguments. Knows nothing of grammars, streams or OpenAI's objects.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handler.errors import InvalidRequest

Tools = Sequence[Mapping[str, Any]]
Render = Callable[[Sequence[Mapping[str, Any]], Tools], str]


@dataclass(frozen=True)
class CallSyntax:
    """A call is `opening`, name, `between`, arguments, `closing`.

    `marker`, the beginning of `opening`, ends the text before it.
    """

    marker: str
    opening: str
    between: str
    closing: str
    alone: bool  # neither text nor another call beside it
    separator: str = "\n"  # between two calls

    def write(self, name: str, arguments: Any) -> str:
        """Write a call as the model itself would have."""
        text = json.dumps(arguments, ensure_ascii=False)
        return f"{self.opening}{name}{self.between}{text}{self.closing}"


# Source: https://huggingface.co/NousResearch/Hermes-2-Pro-Llama-3-8B; Qwen's templates write the same.
HERMES = CallSyntax(
    "<tool_call>", '<tool_call>\n{"name": "', '", "arguments": ', "}\n</tool_call>", alone=False
)
# Source: https://www.llama.com/docs/model-cards-and-prompt-formats/llama3_1/#json-based-tool-calling
LLAMA = CallSyntax("{", '{"name": "', '", "parameters": ', "}", alone=True)

_NAME, _GIVEN, _TAKEN, _RESULT = "probe_function", "probe_given", "probe_taken", "probe_result"
_TOOL = {
    "type": "function",
    "function": {
        "name": _NAME,
        "description": _GIVEN,
        "parameters": {"type": "object", "properties": {"x": {"type": "string"}}},
    },
}
_CALL = {"id": "probe0001", "type": "function", "function": {"name": _NAME, "arguments": {"x": _TAKEN}}}
_CONVERSATION = (
    {"role": "user", "content": "x"},
    {"role": "assistant", "content": "", "tool_calls": [_CALL]},
    {"role": "tool", "content": _RESULT, "tool_call_id": "probe0001", "name": _NAME},
)


def syntax_of(render: Render) -> CallSyntax | None:
    """Tell how the template behind `render` writes calls.

    None where it leaves out any part of them, or writes them in a way that is not known here.
    """
    try:
        text = render(_CONVERSATION, [_TOOL])
    except InvalidRequest:
        return None
    given, taken, result = (text.find(word) for word in (_GIVEN, _TAKEN, _RESULT))
    if not 0 <= given < taken < result:
        return None
    written = text[text.rindex(_NAME, 0, taken) : taken] if text.rfind(_NAME, 0, taken) > given else ""
    if HERMES.marker in text[:taken]:
        return HERMES
    return LLAMA if '"parameters"' in written else None
