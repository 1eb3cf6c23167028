"""The little language in which questions are written: `(a|b|)` is one of these, `{slot}` a shared phrase.

Knows nothing of topics or dialogues; a pattern and a random generator go in, one sentence comes out.
"""

import random
import re
from collections.abc import Mapping, Sequence

_CHOICE = re.compile(r"\(([^()]*)\)")
_SLOT = re.compile(r"\{(\w+)\}")
_SPACES = re.compile(r" {2,}")
_SPACE_BEFORE_MARK = re.compile(r" +([,.?!;:])")


class UnknownSlot(KeyError):
    """A pattern names a slot that nobody fills."""


def expand(
    pattern: str,
    rng: random.Random,
    phrases: Mapping[str, Sequence[str]],
    values: Mapping[str, str] | None = None,
) -> str:
    """Return one sentence of the pattern.

    `phrases` are shared lists (their entries are patterns themselves); `values` are put in verbatim and last,
    so a value is never read as grammar.

    Raises: UnknownSlot.
    """
    fixed = values or {}

    def phrase(match: re.Match[str]) -> str:
        slot = match.group(1)
        if slot in fixed:
            return match.group(0)
        if slot not in phrases:
            raise UnknownSlot(f"pattern {pattern!r}: slot {{{slot}}} is neither a phrase nor a value")
        return rng.choice(phrases[slot])

    text = pattern
    while (filled := _SLOT.sub(phrase, text)) != text:
        text = filled
    while _CHOICE.search(text):  # innermost first, so choices may nest
        text = _CHOICE.sub(lambda match: rng.choice(match.group(1).split("|")), text)
    text = _SPACE_BEFORE_MARK.sub(r"\1", _SPACES.sub(" ", text)).strip().lstrip(",，").lstrip()
    return _SLOT.sub(lambda match: fixed[match.group(1)], text)


def slots(pattern: str) -> list[str]:
    """Return the names of the slots written in the pattern, in order."""
    return _SLOT.findall(pattern)


def variety(pattern: str, phrases: Mapping[str, Sequence[str]]) -> int:
    """Return about how many sentences a pattern has: the product of its choices and shared phrases."""
    count = 1
    for slot in slots(pattern):
        count *= len(phrases.get(slot, ("",)))
    for choice in _CHOICE.findall(pattern):
        count *= choice.count("|") + 1
    return count
