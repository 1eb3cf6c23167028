"""Quality on held-out dialogues: the bundle's greedy answers beside those written; BLEU, chrF, exact match.

`python -m export.quality BUNDLE --dialogues FILE` measures a finished bundle, an export's `--dialogues` its
own. Owns the file's form: JSON lines, each `{"messages": [...]}`; the last message is the assistant's, the
answer that is wanted. Knows no training.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from export.command import run
from export.errors import ExportError, first_line
from export.house.measures import bleu, chrf, is_in_language
from export.section import Section, Table
from handler.engine import load
from handler.engine.engine import Engine
from handler.engine.prompt import ROLES, ChatPrompt
from handler.errors import InvalidRequest

ANSWER_TOKENS = 256
SHOWN = 5
LANGUAGES = ("en", "zh")

WHAT = (
    "The last answer of each dialogue, given greedily by the bundle through the engine that serves it, "
    "beside the one that is written there. BLEU and chrF (sacrebleu) count common words and pieces of "
    "words from 0 to 100; an exact match is the written answer to the letter, but for white space."
)
NOT_SAID = (
    "What this does not say: a good answer in other words scores low, and a wrong one in the right words "
    "high. The numbers compare bundles on one file; across files they mean little."
)


@dataclass(frozen=True)
class Dialogue:
    """What was said, and the answer that is wanted."""

    messages: tuple[dict[str, str], ...]
    wanted: str
    where: str = ""  # file and line, for whoever has to mend it

    @property
    def language(self) -> str:
        """Which tokenization BLEU takes: Chinese for an answer with Chinese characters."""
        return "zh" if is_in_language(self.wanted, "zh") and not self.wanted.isascii() else "en"


@dataclass(frozen=True)
class Scores:
    """Measures over the dialogues of one language."""

    dialogues: int
    bleu: float
    chrf: float
    exact: int


def read_dialogues(file: Path) -> list[Dialogue]:
    """The dialogues of a file.

    Raises: ExportError that names the line and the field.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")  # other separators may stand in JSON
    except UnicodeDecodeError as error:
        raise ExportError(
            f"--dialogues: {file} is not UTF-8 text, byte {error.start} cannot be read"
        ) from None
    except OSError as error:
        raise ExportError(f"--dialogues: {file} cannot be read: {error.strerror}") from None
    found = [_dialogue(line, f"--dialogues: {file}:{at}") for at, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise ExportError(f"--dialogues: {file} is empty")
    return found


def check_dialogues(dialogues: Sequence[Dialogue], prompt: ChatPrompt) -> None:
    """Refuse dialogues that the model cannot be asked.

    Raises: ExportError that names the line.
    """
    for dialogue in dialogues:
        _asked(dialogue, prompt)


def quality(
    engine: Engine, dialogues: Sequence[Dialogue], progress: Callable[[int], None] = lambda _: None
) -> Section:
    """Let the engine answer every dialogue that fits in its context, and score the answers.

    Raises: ExportError, before the first is answered, for one that the model cannot be asked.
    """
    answered: list[tuple[Dialogue, str]] = []
    prompts = [_asked(dialogue, engine.prompt) for dialogue in dialogues]
    for dialogue, prompt in zip(dialogues, prompts, strict=True):
        room = engine.model.context_tokens - len(prompt)
        if room >= 1:
            answered.append((dialogue, _answer(engine, prompt, min(ANSWER_TOKENS, room))))
        progress(1)
    scores = {
        language: scored([pair for pair in answered if pair[0].language == language])
        for language in dict.fromkeys(dialogue.language for dialogue, _ in answered)
    }
    return _section(answered, scores, len(dialogues))


def scored(answered: Sequence[tuple[Dialogue, str]]) -> Scores:
    """Score answers to dialogues of one language."""
    wanted, told = [dialogue.wanted for dialogue, _ in answered], [answer for _, answer in answered]
    exact = sum(_is_exact(*pair) for pair in answered)
    return Scores(len(answered), bleu(told, wanted, answered[0][0].language), chrf(told, wanted), exact)


def _is_exact(dialogue: Dialogue, answer: str) -> bool:
    return answer.split() == dialogue.wanted.split()


def _dialogue(line: str, where: str) -> Dialogue:
    try:
        messages = json.loads(line)["messages"]
    except (ValueError, TypeError, KeyError):
        raise ExportError(f'{where}: must be a JSON object with "messages"') from None
    if not isinstance(messages, list) or len(messages) < 2:
        raise ExportError(f"{where}: messages: must be a list of two or more, the last the assistant's")
    for at, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise ExportError(f"{where}: messages[{at}].role: must be one of {', '.join(sorted(ROLES))}")
        content = message.get("content")
        if not isinstance(content, str) or not _is_text(content):
            raise ExportError(f"{where}: messages[{at}].content: must be a string of whole characters")
    *before, last = messages
    if last["role"] != "assistant" or not last["content"].strip():
        raise ExportError(
            f"{where}: messages[{len(before)}]: must be the assistant's, with the answer wanted"
        )
    messages = tuple({"role": m["role"], "content": m["content"]} for m in before)
    return Dialogue(messages, last["content"], where)


def _is_text(content: str) -> bool:
    """Whether it can be written down: JSON's escapes can spell half of a surrogate pair."""
    try:
        content.encode()
    except UnicodeEncodeError:
        return False
    return True


def _asked(dialogue: Dialogue, prompt: ChatPrompt) -> list[int]:
    try:
        return prompt.encode(list(dialogue.messages))  # as templates may add to them
    except InvalidRequest as error:
        raise ExportError(f"{dialogue.where}: {first_line(error)}") from None


def _answer(engine: Engine, prompt: list[int], most: int) -> str:
    answer = engine.generate(prompt, engine.params(temperature=0), max_tokens=most)
    text: str = engine.tokenizer.decode([token.id for token in answer])
    return text


def _section(answered: Sequence[tuple[Dialogue, str]], scores: dict[str, Scores], available: int) -> Section:
    rows = tuple(
        (
            language,
            str(one.dialogues),
            f"{one.bleu:.1f}",
            f"{one.chrf:.1f}",
            f"{one.exact / one.dialogues:.1%}",
        )
        for language, one in scores.items()
    )
    missed = [(dialogue, answer) for dialogue, answer in answered if not _is_exact(dialogue, answer)]
    shown = tuple((d.messages[-1]["content"], d.wanted, answer) for d, answer in missed[:SHOWN])
    left_out = available - len(answered)
    said = f"{len(answered)} of {available} dialogues were answered; {left_out} do not fit in the context."
    return Section(
        title="Quality on held-out dialogues",
        key="quality",
        text=(WHAT, said, NOT_SAID) if left_out else (WHAT, NOT_SAID),
        tables=(
            Table(("language", "dialogues", "BLEU", "chrF", "exact match"), rows),
            Table(("last message", "wanted", "answered"), shown, "Some answers that are not the wanted ones"),
        ),
        facts={
            "dialogues": available,
            "answered": len(answered),
            "languages": {language: dataclasses.asdict(one) for language, one in scores.items()},
        },
    )


def main(arguments: list[str] | None = None) -> int:
    """Print a bundle's scores as JSON; the exit code is 0, 1 for a failure, 2 for wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m export.quality", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder of the bundle")
    parser.add_argument(
        "--dialogues",
        required=True,
        type=Path,
        metavar="FILE",
        help="JSON lines of messages, the last one wanted",
    )
    got = parser.parse_args(arguments)
    return run("export.quality", lambda: _print(got.bundle, got.dialogues))


def _print(bundle: Path, file: Path) -> int:
    dialogues = read_dialogues(file)
    print(json.dumps(dict(quality(load(bundle), dialogues).facts), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
