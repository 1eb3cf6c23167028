"""Small skills that are computed, not written: sums, echoing, the first and the last of some words.

Each maker returns a question and its right answer. Knows nothing of dialogues.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from export.house.names import make_name
from export.house.split import is_held_out
from export.house.topics import load_skills

LARGEST_OPERAND = 20
_ECHOED_WORDS = (1, 1, 2, 3, 5, 8)


@dataclass(frozen=True)
class Exercise:
    """One question with its right answer; `fact` is what a right answer must contain."""

    kind: str
    ask: str
    say: str
    fact: str


def make_sum(rng: random.Random, language: str, *, held_out: bool = False) -> Exercise:
    """Return a sum or a difference of numbers up to 20; the held-out ones are fixed pairs of operands."""
    written = _skill("sum", language)
    while True:
        a, b = rng.randint(0, LARGEST_OPERAND), rng.randint(0, LARGEST_OPERAND)
        sign = rng.choice("+-")
        a, b = (max(a, b), min(a, b)) if sign == "-" else (a, b)
        if is_held_out(f"{a}{sign}{b}") == held_out:
            break
    result = a + b if sign == "+" else a - b
    word = rng.choice(written["plus" if sign == "+" else "minus"])
    space = "" if word in "+-" and rng.random() < 0.2 else " "
    ask = rng.choice(written["ask"]).format(e=f"{a}{space}{word}{space}{b}")
    return Exercise("sum", ask, written["say"].format(a=a, s=sign, b=b, r=result), f"= {result}")


def make_echo(rng: random.Random, language: str, *, held_out: bool = False) -> Exercise:
    """Return a wish to repeat some unknown words; the long ones are where copying is learned fastest."""
    made = [make_name(rng, language, held_out=held_out) for _ in range(rng.choice(_ECHOED_WORDS))]
    words = " ".join(word.lower() if rng.random() < 0.5 else word for word in made)
    return Exercise("echo", rng.choice(_skill("echo", language)["ask"]).format(w=words), words, words)


def make_ends(rng: random.Random, language: str, *, held_out: bool = False) -> Exercise:
    """Return a question for the first or the last of two to four words."""
    words = [make_name(rng, language, held_out=held_out) for _ in range(rng.choice((2, 3, 3, 4)))]
    end = rng.choice(("first", "last"))
    word = words[0] if end == "first" else words[-1]
    written = _skill(end, language)
    joined = (", " if language == "en" else "、").join(words)
    return Exercise("ends", rng.choice(written["ask"]).format(w=joined), written["say"].format(w=word), word)


_MAKERS: tuple[Callable[..., Exercise], ...] = (make_sum, make_echo, make_ends)
_WEIGHTS = (0.45, 0.4, 0.15)


def make_exercise(rng: random.Random, language: str, *, held_out: bool = False) -> Exercise:
    """Return an exercise of any kind."""
    maker: Callable[..., Exercise] = rng.choices(_MAKERS, weights=_WEIGHTS)[0]
    return maker(rng, language, held_out=held_out)


def _skill(name: str, language: str) -> dict[str, Any]:
    return load_skills()[name][language]
