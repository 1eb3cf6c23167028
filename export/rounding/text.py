"""The calibration text: read, checked, and cut into windows of ids.

Owns the text's own form: passages parted by blank lines. A passage whose lines all begin with `System: `,
`User: ` or `Assistant: ` is a chat, and goes through the model's chat template where there is one. Does not
know what the text is used for.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from export.errors import ExportError

CALIBRATION_FILE = "calibration.txt"
WINDOW_TOKENS = 256
FEWEST_TOKENS = 1024
MOST_TOKENS = 16384
WORK = 1.2e12  # tokens times parameters: a large model reads less, which bounds time and memory
TURN = re.compile(r"(System|User|Assistant): (.*)")


@dataclass(frozen=True)
class CalibrationText:
    """Text, and where it came from."""

    name: str
    text: str

    @property
    def fingerprint(self) -> str:
        """The text by name and hash, for the manifest."""
        return f"{self.name}, sha256 {hashlib.sha256(self.text.encode()).hexdigest()[:16]}"


def read_text(file: Path, option: str = "--calibration") -> CalibrationText:
    """A text file that `option` named.

    Raises: ExportError when it cannot be read, is not UTF-8 or says nothing.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ExportError(f"{option}: {file} is not UTF-8 text, byte {error.start} cannot be read") from None
    except OSError as error:
        raise ExportError(f"{option}: {file} cannot be read: {error.strerror}") from None
    if not text.strip():
        raise ExportError(f"{option}: {file} is empty")
    return CalibrationText(file.name, text)


SHIPPED = read_text(Path(__file__).parent / CALIBRATION_FILE)


def default_text(checkpoint: Path) -> CalibrationText:
    """The checkpoint's own text where it brings one, else the shipped one."""
    beside = checkpoint / CALIBRATION_FILE
    return read_text(beside) if beside.is_file() else SHIPPED


def windows(text: CalibrationText, tokenizer: Any, context_tokens: int, parameters: int) -> list[list[int]]:
    """The text's ids, the shipped text's behind them, in windows of one length.

    `tokenizer` is transformers'; `parameters` is how many multiplications a token costs.
    """
    most = min(MOST_TOKENS, max(FEWEST_TOKENS, int(WORK / parameters)))
    every = (id_ for passage in _all_passages(text) for id_ in encode_passage(passage, tokenizer))
    ids = list(islice(every, most))  # a text may be far longer than what is read of it
    length = min(WINDOW_TOKENS, context_tokens, len(ids))
    return [ids[start : start + length] for start in range(0, len(ids) - length + 1, length)]


def _all_passages(text: CalibrationText) -> list[str]:
    return passages(text.text if text is SHIPPED else f"{text.text}\n\n{SHIPPED.text}")


def passages(text: str) -> list[str]:
    """The parts of a text between blank lines."""
    return [passage.strip("\n") for passage in re.split(r"\n\s*\n", text) if passage.strip()]


def encode_passage(passage: str, tokenizer: Any) -> list[int]:
    """The ids of one, through transformers' tokenizer, and its chat template where it is a chat."""
    turns = [TURN.fullmatch(line) for line in passage.strip("\n").split("\n")]
    if all(turns) and tokenizer.chat_template:
        messages = [{"role": turn[1].lower(), "content": turn[2]} for turn in turns if turn]
        try:
            return list(tokenizer.apply_chat_template(messages))
        except (TemplateError, ValueError):
            pass  # a template that wants other roles, or in another order
    return list(tokenizer.encode(passage))
