"""Tutoring: the model asks a question back, the person answers, the model judges.

Owns these small exchanges of two turns or more. Knows nothing of what is talked about around them.
"""

import random
from typing import Any

from export.house.grammar import expand
from export.house.noise import as_typed
from export.house.numerals import numeral
from export.house.skills import LARGEST_OPERAND
from export.house.split import split_phrasings
from export.house.topics import load_lessons
from export.house.turns import Turn

_SUMS = 0.4  # part of the lessons that are about sums
_RIGHT, _WRONG = 0.5, 0.35  # parts of right and wrong answers; the rest gives up
_MORE = 0.35  # chance of one more question


class Tutor:
    """Draws lessons; with `rephrased`, the person's words are ones that training never sees."""

    def __init__(self, rng: random.Random, *, rephrased: bool) -> None:
        self.rng, self.rephrased = rng, rephrased

    def lesson(self, language: str) -> list[Turn]:
        """Return the turns of one lesson: a wish to be asked, the question, an answer, the judgement."""
        sums = self.rng.random() < _SUMS
        turns: list[Turn] = []
        while not turns or self.rng.random() < _MORE:
            turns += self._round(language, sums, first=not turns)
        return turns

    def _round(self, language: str, sums: bool, *, first: bool) -> list[Turn]:
        words = load_lessons()[language]
        opening = self._say("sum_start" if sums and first else "start" if first else "next", language)
        question, right, wrong, why = self._sum(language) if sums else self._question(words)
        asked = Turn(
            opening, words["ask"].format(q=question), "tutoring", language, (words["ask"].format(q=""),)
        )
        draw = self.rng.random()
        if draw < _RIGHT + _WRONG:
            answer = self._wrapped(right if draw < _RIGHT else wrong, language)
            judged = words["right" if draw < _RIGHT else "wrong"]
        else:
            answer, judged = self._say("giveup", language), words["told"]
        verdict = judged.format(w="").strip().casefold()
        return [asked, Turn(answer, judged.format(w=why), "tutoring", language, (verdict, why.casefold()))]

    def _question(self, words: dict[str, Any]) -> tuple[str, str, str, str]:
        question, right, wrong, why = self.rng.choice(words["lesson"])
        return question, self.rng.choice(right.split("|")), self.rng.choice(wrong.split("|")), why

    def _sum(self, language: str) -> tuple[str, str, str, str]:
        a, b = sorted(
            (self.rng.randint(0, LARGEST_OPERAND), self.rng.randint(0, LARGEST_OPERAND)), reverse=True
        )
        sign = self.rng.choice("+-")
        result = a + b if sign == "+" else a - b
        missed = self.rng.choice([k for k in range(max(0, result - 5), result + 6) if k != result])
        end = "." if language == "en" else "。"
        asked = f"{a} {sign} {b} = ?"
        return (
            asked,
            self._number(result, language),
            self._number(missed, language),
            f"{a} {sign} {b} = {result}{end}",
        )

    def _number(self, number: int, language: str) -> str:
        in_words = number <= LARGEST_OPERAND and self.rng.random() < 0.25
        return numeral(number, language) if in_words else str(number)

    def _say(self, key: str, language: str) -> str:
        train, unseen = split_phrasings(f"lesson/{language}/{key}", load_lessons()[language][key], keep=1)
        pattern = self.rng.choice(unseen if self.rephrased and unseen else train)
        return as_typed(expand(pattern, self.rng, {}), self.rng, language)

    def _wrapped(self, answer: str, language: str) -> str:
        text = expand(self.rng.choice(load_lessons()[language]["wrap"]), self.rng, {}, {"x": answer})
        return text[:1].upper() + text[1:] if self.rng.random() < 0.3 else text
