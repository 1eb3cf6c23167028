"""Draws values that could be anything: words of the written texts, two words together, made-up words.

What is told is to be copied, never guessed from a list; so training meets far more values than any list has.
Owns the pool of written words and which of them training may see. Knows nothing of dialogues.
"""

import random
import re
from collections.abc import Iterator
from functools import cache

from export.house.names import common_characters, make_word, words
from export.house.split import held_out_values, is_held_out
from export.house.topics import Family, load_families

_EN_WORD = re.compile(r"(?<![\w{/.`'-])[a-z]{3,14}(?![\w}/`'-])")
_ZH_RUN = re.compile(r"[\u4e00-\u9fff]+")
_SMALL_WORDS = re.compile(
    r"the|and|you|are|was|were|has|had|have|can|could|will|would|not|but|for|"
    r"its|his|her|our|your|their|they|them|this|that|these|those|with|from|what|"
    r"when|where|which|who|why|how|does|did|don|one|any|all|too|than|then|there|"
    r"here|into|onto|over|under|about|been|being|may|might|must|shall|should|yes|"
    r"let|tell|said|say|says|told|very|just|also|some|such|only|own|she|him|out|"
    r"off|isn|aren"
)
_LONGEST_SLICE = 4
_LONGEST_BLEND = 12
_BLENDED = 0.3  # part of the trained English values of no kind
_BLENDS_AS_NAMES = 0.25  # part of the blends with a capital


def make_written(rng: random.Random, language: str, *, held_out: bool = False) -> str:
    """Return one word of the written texts; with `held_out`, one that training never sees as a value."""
    while True:
        if language == "en":
            value = rng.choice(english_words())
        else:
            run = rng.choice(_chinese_runs())
            length = rng.choice((1, 2, 2, 3, _LONGEST_SLICE))
            at = rng.randrange(max(1, len(run) - length + 1))
            value = run[at : at + length]
        if _is_on_side(value, language, held_out=held_out):
            return value


def make_blend(rng: random.Random) -> str:
    """Return the beginning of one written English word and the end of another: no word, but of common pieces.

    Tokens are pieces of words, and each must be copied and spelled often before an unseen word of them is.
    """
    while True:
        first, second = rng.choice(english_words()), rng.choice(english_words())
        value = first[: rng.randint(2, len(first))] + second[rng.randint(1, len(second) - 1) :]
        if len(value) <= _LONGEST_BLEND and not is_held_out(value):
            return value.title() if rng.random() < _BLENDS_AS_NAMES else value


def make_any(rng: random.Random, language: str) -> str:
    """Return a value of no kind: written, of two words, made up, blended, or of characters drawn alone."""
    while True:
        if language == "en" and rng.random() < _BLENDED:
            return make_blend(rng)
        kind = rng.random()
        if kind < 0.45:
            return make_written(rng, language)
        if kind < 0.70:
            value = make_word(rng, language)
        elif kind < 0.85:
            joint = " " if language == "en" else ""
            value = joint.join((make_written(rng, language), _listed(rng, language)))
        elif language == "zh":
            value = "".join(rng.choices(common_characters(), k=rng.choice((1, 2, 3, 4))))
        else:
            value = _listed(rng, language)
        if _is_on_side(value, language, held_out=False):
            return value


def _listed(rng: random.Random, language: str) -> str:
    kind = rng.choice(("jobs", "foods", "colours", "animals", "hobbies", "wares"))
    return rng.choice(words()[language][kind].split("|"))


def _is_on_side(value: str, language: str, *, held_out: bool) -> bool:
    """Whether the value is held out as wanted; a trained one has no held-out part either."""
    if held_out:
        return is_held_out(value)
    if language == "zh":
        return not is_held_out(value) and not any(unseen in value for unseen in _unseen_listed())
    return not any(map(is_held_out, (value, *value.split())))


@cache
def _unseen_listed() -> tuple[str, ...]:
    """The held-out Chinese values of the lists, but for single characters, which every text has."""
    kinds = ("jobs", "foods", "colours", "animals", "hobbies", "wares", "cities")
    listed = (value for kind in kinds for value in words()["zh"][kind].split("|"))
    return tuple(value for value in held_out_values(listed) if len(value) > 1)


@cache
def english_words() -> tuple[str, ...]:
    """Return the words of the written English texts, but for those that every sentence has."""
    found = {word for text in _texts("en") for word in _EN_WORD.findall(text.lower())}
    return tuple(sorted(word for word in found if not _SMALL_WORDS.fullmatch(word)))


@cache
def _chinese_runs() -> tuple[str, ...]:
    return tuple(sorted({run for text in _texts("zh") for run in _ZH_RUN.findall(text)}))


def _texts(language: str) -> Iterator[str]:
    for family in load_families():
        if family.language == language:
            yield from _texts_of(family)
    for kind in ("jobs", "foods", "colours", "animals", "hobbies", "wares"):
        yield from words()[language][kind].split("|")


def _texts_of(family: Family) -> Iterator[str]:
    yield from (*family.ask, *family.say, *family.more, *family.because)
    for written in (*family.others.values(), *family.subjects.values()):
        yield from written
