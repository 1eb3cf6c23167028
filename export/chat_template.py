"""A checkpoint's chat template: which one of several, and whether a question can be put to the model by it.

Owns what is tried before any work is done. What it writes is compared with transformers elsewhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from export.errors import ExportError, first_line
from handler.engine.template import ChatTemplate
from handler.errors import DormouseError

DEFAULT = "default"  # of several by name, the one for chats
QUESTION = {"role": "user", "content": "Hello"}


def chat_template(tokenizer: Any, folder: Path) -> str | None:
    """The template for chats, None where there is none; `tokenizer` is transformers', from `folder`.

    Raises: ExportError when all are for other uses, or it is no text.
    """
    told = tokenizer.chat_template
    if not told:
        return None
    if isinstance(told, dict):
        if DEFAULT not in told:
            names = ", ".join(sorted(told))
            raise ExportError(f"{folder}: chat_template: {names}, must have one for chats, named {DEFAULT}")
        told = told[DEFAULT]
    if not isinstance(told, str):
        raise ExportError(f"{folder}: chat_template: {told!r}, must be a text or a list of texts by name")
    return told


def write_question(template: ChatTemplate, folder: Path) -> str:
    """What a template from `folder` makes of a user's message alone, as nearly every chat begins.

    Raises: ExportError with what the template says against it, or when it leaves the message out.
    """
    try:
        text = template.render([QUESTION], None, add_generation_prompt=True)
    except DormouseError as error:
        raise ExportError(f"{folder}: a user's message alone cannot be asked: {first_line(error)}") from None
    if QUESTION["content"] not in text:
        raise ExportError(
            f"{folder}: chat_template: leaves out what a user's message says, where it is a text"
        )
    return text
