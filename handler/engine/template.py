"""A model's chat template, rendered as transformers renders it.

Compiled at the first use, or when asked to: an engine that is given ids needs none. Knows nothing of ids, and
of jinja2 only that it renders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from handler.errors import InvalidRequest

Message = Mapping[str, Any]


class ChatTemplate:
    """One template and the token strings that it may name (`bos_token` and the like)."""

    def __init__(self, source: str, tokens: Mapping[str, str]) -> None:
        self._source, self._tokens = source, dict(tokens)

    @cached_property
    def compiled(self) -> Any:
        """The template, ready to render. Raises: BundleError when it does not compile."""
        from handler.engine.template_environment import compile_template

        return compile_template(self._source)

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None,
        add_generation_prompt: bool,
    ) -> str:
        """Write the messages as the text that the model was trained on.

        Raises: InvalidRequest when the template refuses them.
        """
        template = self.compiled
        try:
            rendered: str = template.render(
                messages=messages,
                tools=tools,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **self._tokens,
            )
            return rendered
        except Exception as error:  # a template is the model's own code: it can fail in any way
            raise InvalidRequest(
                f"The model's chat template refuses these messages: {error}", param="messages"
            ) from error
