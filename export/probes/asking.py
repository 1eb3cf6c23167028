"""Asking a bundle: a question as its prompt, and the first words of its greedy answer.

Owns how a base model without a template is asked. The unquantized model answers elsewhere (`export.rows`).
"""

from __future__ import annotations

from collections.abc import Callable

from handler.engine.bundle import TEMPLATE_FILE
from handler.engine.engine import Engine

Greedy = Callable[[list[int], int], list[int]]  # ids, how many at most -> ids that follow, the end's too

WITHOUT_TEMPLATE = "Question: {}\nAnswer:\n"


def prompt_of(engine: Engine, text: str) -> list[int]:
    """The prompt in which `text` is all that a person has said."""
    if TEMPLATE_FILE not in engine.manifest.files:
        return engine.prompt.encode_text(WITHOUT_TEMPLATE.format(text))
    return engine.prompt.encode([{"role": "user", "content": text}])


def plain_ids(engine: Engine, text: str) -> list[int]:
    """Text alone, with nothing around it."""
    return list(engine.tokenizer.encode(text, add_special_tokens=False).ids)


def greedy_of(engine: Engine) -> Greedy:
    """The bundle's own greedy answers."""

    def answer_to(ids: list[int], most: int) -> list[int]:
        answer = engine.generate(ids, engine.params(temperature=0), max_tokens=most, speculate=False)
        return [token.id for token in (*answer, *answer.ending)]

    return answer_to
