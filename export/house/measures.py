"""Scores answers: key facts, language, repetition, BLEU, chrF. Pure functions of texts.

Knows no model and no corpus.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from sacrebleu.metrics import BLEU, CHRF

RUN_WORDS = 4  # characters in Chinese


@dataclass(frozen=True)
class Rate:
    """So many right of so many."""

    right: int
    total: int

    def __str__(self) -> str:
        """Return percent and count as a table shows them."""
        if not self.total:
            return "no cases"
        return f"{100 * self.right / self.total:.1f} % ({self.right}/{self.total})"


def rate(results: Sequence[bool]) -> Rate:
    """Return how many of the results are true."""
    return Rate(sum(results), len(results))


def has_facts(text: str, facts: Sequence[str], *, whole: bool = False) -> bool:
    """Tell whether every fact is in the text; a fact "a|b" is there when either is. Case does not count.

    Numbers count as whole numbers only; with `whole`, so do words of Latin letters and spellings (`c-a-t`).
    """
    folded = text.casefold()
    return all(
        any(_contains(folded, option, whole=whole) for option in fact.casefold().split("|")) for fact in facts
    )


def is_in_language(text: str, language: str) -> bool:
    """Tell whether a text is in the language ("zh" if it has a Chinese character, but for told names)."""
    chinese = sum(map(_is_chinese, text))
    letters = sum(c.isascii() and c.isalpha() for c in text)
    if not chinese and not letters:
        return True  # numbers and marks belong to every language
    return chinese > 0 if language == "zh" else letters >= chinese


def repeats_itself(text: str) -> bool:
    """Tell whether some run of `RUN_WORDS` words comes three times."""
    units = text.split() if text.isascii() else [c for c in text if not c.isspace()]
    runs = [tuple(units[i : i + RUN_WORDS]) for i in range(len(units) - RUN_WORDS + 1)]
    return any(runs.count(run) >= 3 for run in set(runs))


def bleu(answers: Sequence[str], references: Sequence[str], language: str) -> float:
    """Return corpus BLEU with the tokenization made for the language. Source: sacrebleu."""
    return float(BLEU(tokenize="zh" if language == "zh" else "13a").corpus_score(answers, [references]).score)


def chrf(answers: Sequence[str], references: Sequence[str]) -> float:
    """Return corpus chrF2. Source: sacrebleu."""
    return float(CHRF().corpus_score(answers, [references]).score)


def _contains(text: str, fact: str, *, whole: bool) -> bool:
    """Whether the fact stands in the text and is no part of something longer."""
    belongs = _is_of_a_word if whole else _is_digit
    at = text.find(fact)
    while at >= 0:
        before, after = text[max(0, at - 1) : at], text[at + len(fact) : at + len(fact) + 1]
        if not any(
            belongs(left) and belongs(right) for left, right in ((before, fact[:1]), (fact[-1:], after))
        ):
            return True
        at = text.find(fact, at + 1)
    return False


def _is_digit(character: str) -> bool:
    return bool(character) and unicodedata.category(character) == "Nd"


def _is_of_a_word(character: str) -> bool:
    """Whether it is a digit, a hyphen or a letter, of those that stand together without a space."""
    return character == "-" or _is_digit(character) or (character.isalpha() and not _is_chinese(character))


def _is_chinese(character: str) -> bool:
    return "\u4e00" <= character <= "\u9fff"
