"""Messages to ids, exactly as the model's own tooling writes them, control strings in user text excepted.

Owns what of a message comes from outside and may therefore not become a control token.
Knows nothing of HTTP: messages are plain mappings in the shape that chat templates read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from handler.engine.control import ControlTokens
from handler.engine.template import ChatTemplate, Message
from handler.errors import ContextOverflow, InvalidRequest

if TYPE_CHECKING:
    from handler.engine.call_syntax import CallSyntax

Tools = Sequence[Mapping[str, Any]]

TOKEN_CHARACTERS = 16  # hardly any text has tokens as long as that on the average
ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})


class ChatPrompt:
    """Encodes conversations for one model; without a chat template the messages' texts are the prompt."""

    def __init__(self, tokenizer: Any, template: ChatTemplate | None) -> None:
        self._tokenizer, self._template = tokenizer, template
        self._control = ControlTokens(tokenizer)

    def prepare(self) -> None:
        """Compile the chat template now, not with the first conversation. Raises: BundleError."""
        if self._template is not None:
            _ = self._template.compiled

    @property
    def call_syntax(self) -> CallSyntax:
        """How the model is to write function calls."""
        from handler.engine.call_syntax import HERMES  # only prompts that speak of functions pay for it

        return self._template_syntax or HERMES

    @property
    def shown_control(self) -> Mapping[str, int]:
        """The control tokens that come out as text, and their ids."""
        return self._control.shown

    @cached_property
    def _template_syntax(self) -> CallSyntax | None:
        from handler.engine.call_syntax import syntax_of

        if self._template is None:
            return None
        return syntax_of(partial(self._template.render, add_generation_prompt=False))

    def encode(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        tools: Tools | None = None,
        most_tokens: int | None = None,
    ) -> list[int]:
        """Render the conversation and encode it.

        Control strings in content, names or tools become ordinary text. The one exception: what the assistant
        said before may hold control strings that are not special (`<think>`): templates look for them there.
        Tools, calls (`tool_calls`, their arguments as mappings) and results (role `tool`) become plain text
        where the template does not know them. What has far more than `most_tokens` is not encoded to its end.

        Raises: InvalidRequest naming the message that holds a lone surrogate or that the template refuses;
        ContextOverflow for far more than `most_tokens`.
        """
        _check_text(messages, "messages")
        _check_text(tools or [], "tools")
        if _speaks_of_functions(messages, tools) and self._template_syntax is None:
            from handler.engine.call_text import as_plain_text

            messages, tools = as_plain_text(messages, tools), None
        if self._template is None:
            return self.encode_text("\n".join(filter(None, map(_text_of, messages))), most_tokens=most_tokens)
        text = self._template.render(messages, tools, add_generation_prompt)
        self._check_length(text, most_tokens)
        marked_messages = [self._marked_message(message) for message in messages]
        marked_tools = None if tools is None else [self._marked(tool) for tool in tools]
        if marked_messages == list(messages) and marked_tools == (None if tools is None else list(tools)):
            return self._plain(text)
        marked = self._template.render(marked_messages, marked_tools, add_generation_prompt)
        if self._control.unmark(marked) == text and self._control.spans(marked) == self._control.spans(text):
            return self._plain(text)  # nothing of the user's is part of a control string
        return self._control.encode_marked(marked)

    def encode_text(self, text: str, *, most_tokens: int | None = None) -> list[int]:
        """Encode plain text with the tokens that the model wants around it; control strings stay text.

        Raises: InvalidRequest when it holds a lone surrogate; ContextOverflow for far more than
        `most_tokens`, which are not encoded to their end.
        """
        _check_text(text, "prompt")
        self._check_length(text, most_tokens)
        if not self._control.suspicious(text):
            return list(self._tokenizer.encode(text).ids)
        # What the tokenizer itself puts around a text: mostly bos.
        frame = list(self._tokenizer.encode("").ids)
        return frame + self._control.encode_marked(self._control.mark(text))

    def _check_length(self, text: str, most_tokens: int | None) -> None:
        """Refuse a text by what it begins with: cutting it changes the ids near the cut, not twice as many.

        Raises: ContextOverflow.
        """
        if most_tokens is None:
            return
        size = TOKEN_CHARACTERS * most_tokens
        while size < len(text):
            if len(self._plain(text[:size])) > 2 * most_tokens:
                raise ContextOverflow(f"The prompt has more than {most_tokens} tokens.", param="messages")
            size *= 2

    def _plain(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _marked_message(self, message: Message) -> Message:
        is_assistant = message.get("role") == "assistant"
        known_role = message.get("role") in ROLES
        return {
            key: value
            if key == "role" and known_role
            else self._marked(value, special_only=is_assistant and key != "tool_calls")
            for key, value in message.items()
        }

    def _marked(self, value: Any, special_only: bool = False) -> Any:
        """Mark suspicious strings wherever they stand, but not the words that templates compare with."""
        if isinstance(value, str):
            is_suspicious = self._control.suspicious(value, special_only=special_only)
            return self._control.mark(value) if is_suspicious else value
        if isinstance(value, list | tuple):
            return [self._marked(item, special_only) for item in value]
        if not isinstance(value, Mapping):
            return value
        marked = {}
        for key, item in value.items():
            is_word = key == "type" and str(item).isidentifier()
            safe_key = key if key.isidentifier() else self._marked(key, special_only)
            marked[safe_key] = item if is_word else self._marked(item, special_only)
        return marked


def _speaks_of_functions(messages: Sequence[Message], tools: Tools | None) -> bool:
    return bool(tools) or any(m.get("role") == "tool" or m.get("tool_calls") for m in messages)


def _text_of(message: Message) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list | tuple) else ()
    return "".join(str(part.get("text", "")) for part in parts if isinstance(part, Mapping))


def _check_text(value: Any, where: str) -> None:
    """Refuse lone surrogates, which are no characters and have no encoding."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            place = f"a lone surrogate at character {error.start}"
            raise InvalidRequest(f"{where} holds {place}: not valid Unicode.", param=where) from None
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _check_text(key, where)
            _check_text(item, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for at, item in enumerate(value):
            _check_text(item, f"{where}[{at}]")
