"""What a model is judged on: passages of the user's or the shipped ones, and the bundle's own greedy answers.

Owns how much is read, and in which windows: logits of all of it are held, for two models at a time, and a
vocabulary of 150,000 makes that the largest thing an export holds. Does not know the measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.errors import ExportError
from export.golden import QUESTIONS
from export.passage import PASSAGES
from export.rounding.text import encode_passage, passages, read_text
from handler.engine.generate import generate
from handler.engine.warm import common_prefix

LOGITS_BYTES = 32 << 20  # of one model, which sets how many tokens are read ...
FEWEST_TOKENS = 192  # ... within these
MOST_TOKENS = 2048
ANSWERS_SHARE = 3  # a third of it is the model's own answers
FEWEST_ANSWERS = 2
WINDOW_TOKENS = 128
SHORTEST_WINDOW = 8
FEWEST_PREDICTED = 2  # tokens: the first of a passage is not predicted
ANSWER_TOKENS = 24
OWN_ANSWERS = "its own answers"
PROMPTS = (*QUESTIONS, "What is your name?", "请介绍一下你自己。", "Write a function that adds two numbers.")


@dataclass(frozen=True)
class Sample:
    """One text in ids; in an answer, `start` is where the model began to speak."""

    kind: str
    ids: list[int]
    start: int | None = None


def check_text(file: Path, tokenizer: Any) -> None:
    """Refuse a user's text in which nothing would be predicted; `tokenizer` is transformers'.

    Raises: ExportError naming `--text` when the file is no text or too short.
    """
    longest = 0
    for passage in passages(read_text(file, "--text").text):
        longest = max(longest, len(encode_passage(passage, tokenizer)))
        if longest >= FEWEST_PREDICTED:
            return
    raise ExportError(
        f"--text: {file} is too short: its longest passage has {longest} of this model's tokens, "
        f"and one of {FEWEST_PREDICTED} at least is needed"
    )


def given_samples(file: Path | None, tokenizer: Any, context_tokens: int, vocabulary: int) -> list[Sample]:
    """The user's text, which `check_text` has passed, or the shipped passages, in windows."""
    if file is None:
        named = list(PASSAGES.items())
    else:
        named = [(file.name, passage) for passage in passages(read_text(file, "--text").text)]
    most = _most(vocabulary) * (ANSWERS_SHARE - 1) // ANSWERS_SHARE
    room = max(2, context_tokens - 2)  # rows are computed in pairs, and cuts are padded
    length = min(WINDOW_TOKENS, room, most // len(named) if file is None else WINDOW_TOKENS)
    windows, empty = list[Sample](), list(tokenizer.encode(""))
    for kind, passage in named:
        first, *others = cut(encode_passage(passage, tokenizer), empty, length) or [[]]
        whole = [first, *(each for each in others if file and len(each) > SHORTEST_WINDOW)]
        windows += [Sample(kind, ids) for ids in whole]
    windows = [window for window in windows if len(window.ids) >= FEWEST_PREDICTED]
    rows = max(1, most // length)
    if len(windows) > rows:  # some from everywhere rather than the beginning
        windows = [windows[at * len(windows) // rows] for at in range(rows)]
    return windows


def cut(ids: Sequence[int], empty: Sequence[int], length: int) -> list[list[int]]:
    """A text's ids in windows of at most `length`; `empty` are those of an empty text, mostly bos.

    Every window begins with those that the text does: models that never read without predict badly there.
    """
    start = common_prefix(empty, ids)
    step = max(1, length - start)
    return [[*ids[:start], *ids[at : at + step]] for at in range(start, len(ids), step)]


def own_prompts(tokenizer: Any, vocabulary: int) -> list[list[int]]:
    """The questions as the model is asked them, as many as find room; `tokenizer` is transformers'."""
    room, prompts = _most(vocabulary) // ANSWERS_SHARE, list[list[int]]()
    for prompt in (_encode_question(question, tokenizer) for question in PROMPTS):
        room -= len(prompt) + ANSWER_TOKENS
        if room < 0 and len(prompts) >= FEWEST_ANSWERS:
            break
        prompts.append(prompt)
    return prompts


def own_answers(model: Any, prompts: Sequence[list[int]], eos: Sequence[int]) -> list[Sample]:
    """What the bundle answers greedily."""
    samples = []
    for prompt in prompts:
        room = min(ANSWER_TOKENS, model.context_tokens - len(prompt) - 2)
        if room < 1:  # a context too small for a template around a question
            continue
        said = generate(
            model,
            model.new_cache(),
            prompt,
            lambda logits, _: int(logits.argmax()),
            eos=frozenset(eos),
            max_tokens=room,
        )
        answer = [token.id for token in said]
        if answer:
            samples.append(Sample(OWN_ANSWERS, prompt + answer, len(prompt)))
    return samples


def _most(vocabulary: int) -> int:
    return max(FEWEST_TOKENS, min(MOST_TOKENS, LOGITS_BYTES // (4 * vocabulary)))


def _encode_question(question: str, tokenizer: Any) -> list[int]:
    if not tokenizer.chat_template:
        return list(tokenizer.encode(question))
    message = {"role": "user", "content": question}
    return list(tokenizer.apply_chat_template([message], add_generation_prompt=True))
