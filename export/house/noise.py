"""What people do to a sentence before they send it: capitals, marks, small words, slang, slips of the finger.

Knows nothing of topics. The told values inside a sentence are never changed here: they are put in afterwards.
"""

import random
import re
import tomllib
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

_EN_QUESTION = frozenset(
    [
        *(
            "what",
            "what's",
            "whats",
            "how",
            "why",
            "who",
            "who's",
            "when",
            "where",
            "where's",
            "which",
            "any",
        ),
        *("is", "are", "can", "could", "do", "does", "did", "will", "would", "should", "have", "has", "am"),
    ]
)
_ZH_QUESTION = (
    "什么",
    "怎么",
    "多少",
    "哪",
    "谁",
    "吗",
    "呢",
    "几",
    "如何",
    "啥",
    "怎样",
    "是不是",
    "能不能",
)
_WORDS = Path(__file__).parent / "words"
_FILE, _ALIKE, _KINDS = _WORDS / "typing.toml", _WORDS / "alike.toml", _WORDS / "kinds.toml"
_OPENED, _CLOSED, _SLANG, _SPACED = 0.12, 0.06, 0.08, 0.02  # chances of each
_ZH_LETTER = "一"  # the first Chinese character of Unicode
_MARKS = tuple("?!.？！。…~)")
_AFTER_A_WORD = ",.;:?!"
_LATIN = re.compile("[A-Za-z]")
_YES_OR_NO = re.compile(r"(.{1,2})[不没]\1")  # X不X: asks whether X
_LEAST_WORDS, _LEAST_CHARACTERS = 4, 5  # a sentence of fewer keeps them all
_SHORT_WORD = 4  # letters of the words that are left out most
_NEGATIONS = frozenset(("not", "no", "never", "without", "don't", "can't", "isn't", *"不没无别未"))
_KEEP_CAPITAL = ("I", "I'm", "I'd", "LLM", "LLMs", "AWS", "API", "GPT", "BLEU", "AI", "SAM", "RNN", "ONNX")


def as_typed(sentence: str, rng: random.Random, language: str, *, typo: float = 0.0) -> str:
    """Return the sentence as somebody might type it; `typo` is the chance of one slip."""
    question = is_question(sentence, language)
    if rng.random() < _SLANG:
        sentence = _slangy(sentence, rng, language)
    if rng.random() < typo:
        sentence = with_typo(sentence, rng, language)
    if rng.random() < _OPENED:
        sentence = rng.choice(_typing()[language]["openers"]) + sentence
    if rng.random() < _CLOSED and not (
        language == "zh" and sentence.endswith("}")
    ):  # a name would grow by it
        sentence += rng.choice(_typing()[language]["closers"])
    if language == "en" and rng.random() < _SPACED:
        sentence = sentence.replace(" ", "  ", 1)
    return _with_case(sentence, rng, language) + _mark(sentence, question, rng, language)


def is_question(sentence: str, language: str) -> bool:
    """Tell whether a person would end the sentence with a question mark."""
    if language == "zh":
        return any(word in sentence for word in _ZH_QUESTION)
    words = sentence.lower().split()
    return any(word in _EN_QUESTION for word in words[:2])


def with_typo(sentence: str, rng: random.Random, language: str) -> str:
    """Return the sentence with one slip in one longer word: a letter swapped, doubled, lost or replaced.

    Chinese sentences lose, double or mistake one character. Words in braces (told values) are left alone.
    """
    if language == "zh":
        outside = _outside_braces(sentence)
        places = [i for i in range(1, len(sentence) - 1) if outside[i] and sentence[i] >= _ZH_LETTER]
        if not places:
            return sentence
        i = rng.choice(places)
        return sentence[:i] + _chinese_slip(sentence[i], rng) + sentence[i + 1 :]
    words = sentence.split(" ")
    long_words = [i for i, word in enumerate(words) if len(word) > 3 and word.isalpha()]
    if not long_words:
        return sentence
    i = rng.choice(long_words)
    words[i] = _slip(words[i], rng)
    return " ".join(words)


def in_other_words(sentence: str, rng: random.Random, language: str) -> str:
    """Return the sentence with up to three of its words exchanged for others of the same meaning.

    A model that reads nothing but this corpus learns only so that "halt" is "stop". Some of the exchanged are
    not the same but of one kind ("my cat", "my hamster"), where no answer depends on which. Told values (in
    braces) stay, and so do commands and the names of things.
    Source: synonym replacement, Wei and Zou, "EDA: easy data augmentation" (2019).
    """
    alike, longest = _alike(language)
    units, glue = _units(sentence, language)
    kept = _kept_places(sentence, language)
    found: list[tuple[int, int]] = []
    at = 0
    while at < len(units):
        spans = [
            n
            for n in range(min(longest, len(units) - at), 0, -1)
            if glue.join(units[at : at + n]).lower() in alike
            and kept.isdisjoint(range(at, at + n))
            and not (language == "zh" and _is_cut_out(sentence, at, at + n))
        ]
        found += [(at, span) for span in spans[:1]]
        at += spans[0] if spans else 1
    chosen = rng.sample(found, min(len(found), rng.choice((1, 1, 2, 3))))
    for at, span in sorted(chosen, reverse=True):
        word = glue.join(units[at : at + span]).lower()
        units[at : at + span] = [rng.choice([other for other in rng.choice(alike[word]) if other != word])]
    return glue.join(units)


def with_word_lost(sentence: str, rng: random.Random, language: str) -> str:
    """Return the sentence as somebody in a hurry types it: a word or two (characters in Chinese) left out.

    Short words are lost most; those in braces (told values) and those that turn the meaning round never are.
    Source: random deletion, Wei and Zou, "EDA: easy data augmentation" (2019).
    """
    chinese = language == "zh"
    words, glue = _units(sentence, language)
    outside = _outside_braces(sentence) if chinese else ["{" not in w and "}" not in w for w in words]
    for _ in range(rng.choice((1, 1, 2))):
        free = [i for i, word in enumerate(words) if outside[i] and word.lower() not in _NEGATIONS]
        if not free or len(words) < (_LEAST_CHARACTERS if chinese else _LEAST_WORDS):
            break
        lost = rng.choices(free, [1.0 if len(words[i]) <= _SHORT_WORD else 0.3 for i in free])[0]
        del words[lost], outside[lost]
    return glue.join(words)


def _units(sentence: str, language: str) -> tuple[list[str], str]:
    """The words of a sentence, in Chinese its characters, and what stands between them."""
    return (list(sentence), "") if language == "zh" else (sentence.split(" "), " ")


def _kept_places(sentence: str, language: str) -> set[int]:
    """The words of a sentence, in Chinese the characters, that belong to a phrase never exchanged."""
    units, glue = _units(sentence.lower(), language)
    phrases, longest = _kept_phrases(language)
    return {
        place
        for at in range(len(units))
        for n in range(1, min(longest, len(units) - at) + 1)
        if glue.join(units[at : at + n]).rstrip(_AFTER_A_WORD) in phrases
        for place in range(at, at + n)
    }


def _is_cut_out(sentence: str, start: int, end: int) -> bool:
    """Tell whether a Chinese match is part of something longer: of a Latin word, or of "喜不喜欢"."""
    before, word, after = sentence[:start].rstrip(" "), sentence[start:end], sentence[end:].lstrip(" ")
    if _LATIN.match(word) and (_LATIN.match(before[-1:]) or _LATIN.match(after)):
        return True
    return any(
        start < found.end() and found.start() < end and not (start <= found.start() and found.end() <= end)
        for found in _YES_OR_NO.finditer(sentence)
    )


def _chinese_slip(character: str, rng: random.Random) -> str:
    """A character of the same sound where one is written down, else the character lost or doubled."""
    alike = [
        c for group in _typing()["zh"]["same_sound"] if character in group for c in group if c != character
    ]
    if alike and rng.random() < 0.7:
        return str(rng.choice(alike))
    return character * rng.choice((0, 2))


def _outside_braces(sentence: str) -> list[bool]:
    depth, outside = 0, []
    for character in sentence:
        depth += character == "{"
        outside.append(not depth)
        depth -= character == "}"
    return outside


def _slangy(sentence: str, rng: random.Random, language: str) -> str:
    """Swap one or two words for what chatting people write instead."""
    swaps: dict[str, str] = _typing()[language]["slang"]
    found = [word for word in swaps if _word(word, language).search(sentence)]
    for word in rng.sample(found, min(len(found), rng.choice((1, 1, 2)))):
        sentence = _word(word, language).sub(swaps[word], sentence, count=1)
    return sentence


@cache
def _word(word: str, language: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(word)}(?!\w)" if language == "en" else re.escape(word))


@cache
def _alike(language: str) -> tuple[dict[str, list[list[str]]], int]:
    """Word -> the groups it stands in, and the most words (characters in Chinese) that one entry has.

    A single Chinese character is mostly part of another word, so it only takes the place of others.
    """
    groups = [group.split("|") for file in (_ALIKE, _KINDS) for group in _read(file)[language]]
    alike: dict[str, list[list[str]]] = defaultdict(list)
    for group in groups:
        for word in group:
            if language == "en" or len(word) > 1:
                alike[word.lower()].append(group)
    return dict(alike), max(len(word if language == "zh" else word.split(" ")) for word in alike)


@cache
def _kept_phrases(language: str) -> tuple[frozenset[str], int]:
    """The phrases that are never exchanged, and the most words (characters in Chinese) that one has."""
    phrases = [phrase for line in _read(_ALIKE)["kept"][language] for phrase in line.split("|")]
    longest = max(len(_units(phrase, language)[0]) for phrase in phrases)
    return frozenset(phrase.lower() for phrase in phrases), longest


@cache
def _typing() -> dict[str, dict[str, Any]]:
    return _read(_FILE)


def _read(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return tomllib.load(file)


def _slip(word: str, rng: random.Random) -> str:
    at = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(4)
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at] + word[at:]
    if kind == 2:
        return word[:at] + word[at + 1 :]
    return word[:at] + rng.choice("abcdefghijklmnopqrstuvwxyz") + word[at + 1 :]


def _with_case(sentence: str, rng: random.Random, language: str) -> str:
    style = rng.random()
    if language == "zh":
        return sentence
    if style < 0.34:
        return _lowered(sentence)
    if style < 0.36 and "{" not in sentence:
        return sentence.upper()
    return sentence[:1].upper() + sentence[1:]


def _lowered(sentence: str) -> str:
    """Lower case but for the slots, whose names are lower case anyway, and {X}, {A}: values in capitals."""
    return " ".join(
        word if "{" in word or word in _KEEP_CAPITAL[3:] else word.lower() for word in sentence.split(" ")
    )


def _mark(sentence: str, question: bool, rng: random.Random, language: str) -> str:
    style = rng.random()
    if sentence[-1:] in _MARKS:
        return ""
    if question:
        marks = ("？", "?") if language == "zh" else ("?", "?")
        return marks[0] if style < 0.62 else marks[1] if style < 0.68 else "??" if style < 0.70 else ""
    marks = ("。", "！") if language == "zh" else (".", "!")
    return marks[0] if style < 0.50 else marks[1] if style < 0.60 else ""
