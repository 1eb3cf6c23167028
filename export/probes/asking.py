"""Asking a model: a question as its prompt, and the first words of its greedy answer.

Owns how a base model without a template is asked, and how the unquantized model, which is slow and reads only
whole texts, gets to a greedy answer: the bundle guesses it, and one reading of all texts checks the guesses.
Source: Leviathan et al., "Fast Inference from Transformers via Speculative Decoding", 2022 (greedy case).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from export.conversion import RowsOf
from export.tokenizer import TEMPLATE_FILE
from handler.engine.engine import Engine

Guess = Callable[[list[int], int], list[int]]  # ids, how many at most -> ids that follow, the end's too

WITHOUT_TEMPLATE = "Question: {}\nAnswer:\n"


def prompt_of(engine: Engine, text: str) -> list[int]:
    """The prompt in which `text` is all that a person has said."""
    if TEMPLATE_FILE not in engine.manifest.files:
        return engine.prompt.encode_text(WITHOUT_TEMPLATE.format(text))
    return engine.prompt.encode([{"role": "user", "content": text}])


def plain_ids(engine: Engine, text: str) -> list[int]:
    """Text alone, with nothing around it."""
    return list(engine.tokenizer.encode(text, add_special_tokens=False).ids)


def guess_of(engine: Engine) -> Guess:
    """The bundle's own greedy answers."""

    def guess(ids: list[int], most: int) -> list[int]:
        answer = engine.generate(ids, engine.params(temperature=0), max_tokens=most, speculate=False)
        return [token.id for token in (*answer, *answer.ending)]

    return guess


def greedy_answers(
    model: RowsOf, prompts: Sequence[list[int]], guess: Guess, eos: Collection[int], most: int
) -> list[list[int]]:
    """The first `most` ids of a model's greedy answers, the end's included; no guess changes them."""
    answers: list[list[int]] = [[] for _ in prompts]
    waiting = list(range(len(prompts)))
    while waiting:
        texts = [[*prompts[at], *answers[at]] for at in waiting]
        guesses = [guess(text, most - len(answers[at])) for text, at in zip(texts, waiting, strict=True)]
        rows = [range(len(text) - 1, len(text) - 1 + len(g)) for text, g in zip(texts, guesses, strict=True)]
        read = model([[*text, *g] for text, g in zip(texts, guesses, strict=True)], rows)
        for at, guessed, logits in zip(waiting, guesses, read, strict=True):
            for right, row in zip(guessed, logits, strict=True):
                answers[at].append(int(row.argmax()))
                if answers[at][-1] != right:
                    break
        waiting = [at for at in waiting if len(answers[at]) < most and answers[at][-1] not in eos]
    return answers
