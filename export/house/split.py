"""Decides, once and by hash alone, what is held out of training: names, values, phrasings and sentences.

A hash needs no list to be kept: the same string falls on the same side in every run, on every machine.
"""

import hashlib
from collections.abc import Iterable, Sequence

HELD_OUT_VALUES_PERCENT = 12
HELD_OUT_PHRASINGS_PERCENT = 14
HELD_OUT_SENTENCES_PERCENT = 10
_MIN_PHRASINGS_TO_HOLD_OUT = 4


def is_held_out(value: str) -> bool:
    """Tell whether a name or another told value belongs to the held-out part, whatever its case."""
    return _percent(f"value:{value.casefold()}") < HELD_OUT_VALUES_PERCENT


def split_phrasings(key: str, patterns: Sequence[str], *, keep: int = 0) -> tuple[list[str], list[str]]:
    """Return (for training, held out): a family of four or more phrasings gives at least one away.

    The first `keep` patterns, the plainest ones, are always for training.
    """
    if len(patterns) < max(_MIN_PHRASINGS_TO_HOLD_OUT, keep + 1):
        return list(patterns), []
    ranked = sorted(patterns[keep:], key=lambda pattern: _digest(f"phrasing:{key}:{pattern}"))
    count = max(1, round(len(patterns) * HELD_OUT_PHRASINGS_PERCENT / 100))
    held_out = set(ranked[:count])
    return [p for p in patterns if p not in held_out], [p for p in patterns if p in held_out]


def is_sentence_held_out(sentence: str) -> bool:
    """Tell whether one wording of a pattern is held out, although the pattern itself is trained."""
    return _percent(f"sentence:{sentence.casefold()}") < HELD_OUT_SENTENCES_PERCENT


def train_values(values: Iterable[str]) -> list[str]:
    """Return the values that training may see."""
    return [value for value in values if not is_held_out(value)]


def held_out_values(values: Iterable[str]) -> list[str]:
    """Return the values that training never sees."""
    return [value for value in values if is_held_out(value)]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _percent(text: str) -> int:
    return int(_digest(text)[:8], 16) % 100
