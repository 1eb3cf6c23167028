"""Makes names that nobody has seen: syllables, letter chains, random letters, Chinese characters.

A model that meets thousands of different names, cut by the tokenizer in thousands of ways, can only answer
"what is my name?" by copying. Owns the making and which names are held out; knows nothing of dialogues.
"""

import random
import tomllib
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from export.house.split import is_held_out

_FILE = Path(__file__).parent / "words" / "names.toml"
_CHAIN_ORDER = 2  # letters that decide the next one
_MAX_CHAIN_LETTERS = 11
_ANY_CHARACTERS = (
    0.6  # part of the made-up Chinese words, and a fifth of that of the names, of any characters
)
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@cache
def words() -> dict[str, dict[str, str]]:
    """Return the word lists: language -> kind -> the words, joined as they are written."""
    with _FILE.open("rb") as file:
        loaded: dict[str, Any] = tomllib.load(file)
    return loaded


def make_name(rng: random.Random, language: str, *, held_out: bool = False) -> str:
    """Return a name for a dialogue in the language; with `held_out`, one that training never sees."""
    while True:
        name = _any_name(rng, language)
        if is_held_out(name) == held_out and (held_out or not _has_held_out_part(name)):
            return name


@cache
def common_characters() -> str:
    """Return the 3,755 common Chinese characters, so that every one of them is copied sometimes.

    Source: level 1 of GB 2312-80, rows 16 to 55.
    """
    rows = (bytes((0xA0 + row, 0xA0 + cell)) for row in range(16, 56) for cell in range(1, 95))
    return b"".join(rows).decode("gb2312", errors="ignore")


def make_word(rng: random.Random, language: str, *, held_out: bool = False) -> str:
    """Return a word that means nothing; with `held_out`, one that training never sees."""
    while True:
        if language == "zh":
            known = words()["zh"]["sounds"] + words()["zh"]["given"]
            drawn_from = common_characters() if rng.random() < _ANY_CHARACTERS else known
            word = "".join(rng.choices(drawn_from, k=rng.choice((1, 2, 2, 3))))
        else:
            word = rng.choice((_syllables, _chain, _letters))(rng).lower()
        if is_held_out(word) == held_out:
            return word


def make_english_name(rng: random.Random) -> str:
    """Return an English-looking name of any kind, on either side of the split."""
    makers: list[Callable[[random.Random], str]] = [_real, _syllables, _chain, _letters, _pinyin]
    name = rng.choices(makers, weights=[25, 32, 28, 7, 8])[0](rng)
    if rng.random() < 0.06:
        name = f"{name} {rng.choice(_list('en', 'family'))}"
    return name


def make_chinese_name(rng: random.Random) -> str:
    """Return a Chinese name of any kind, on either side of the split."""
    kind = rng.random()
    chars = words()["zh"]
    if kind < 0.12:
        return rng.choice(_list("zh", "nicknames")) + rng.choice(chars["given"])
    if kind < 0.30:
        return "".join(rng.choices(chars["sounds"], k=rng.choice((2, 3, 3, 4))))
    if kind > 1 - _ANY_CHARACTERS / 5:
        return "".join(rng.choices(common_characters(), k=rng.choice((2, 2, 3))))
    surname = rng.choice(_list("zh", "compound")) if kind < 0.36 else rng.choice(chars["surnames"])
    return surname + "".join(rng.choices(chars["given"], k=rng.choice((1, 2, 2))))


def _any_name(rng: random.Random, language: str) -> str:
    foreign = rng.random()
    if language == "zh":
        return make_english_name(rng) if foreign < 0.22 else make_chinese_name(rng)
    return make_chinese_name(rng) if foreign < 0.04 else make_english_name(rng)


def _has_held_out_part(name: str) -> bool:
    return any(is_held_out(part) for part in name.split())


def _list(language: str, kind: str) -> list[str]:
    return words()[language][kind].split()


def _real(rng: random.Random) -> str:
    return rng.choice(_list("en", "given"))


def _pinyin(rng: random.Random) -> str:
    given = _list("en", "pinyin")
    return (
        " ".join(rng.sample(given, 2))
        if rng.random() < 0.5
        else rng.choice(given) + rng.choice(given).lower()
    )


def _syllables(rng: random.Random) -> str:
    onsets, vowels, codas, endings = (_list("en", kind) for kind in ("onsets", "vowels", "codas", "endings"))
    name = rng.choice(onsets) if rng.random() < 0.85 else ""
    for _ in range(rng.choice((0, 1, 1, 2))):
        name += rng.choice(vowels) + (rng.choice(codas) if rng.random() < 0.3 else "") + rng.choice(onsets)
    name += rng.choice(endings) if rng.random() < 0.7 else rng.choice(vowels) + rng.choice(codas)
    return name.capitalize() if len(name) > 1 else name.upper() + "a"


def _letters(rng: random.Random) -> str:
    return "".join(rng.choices(_LETTERS, k=rng.randint(3, 8))).capitalize()


@cache
def _chain_table() -> dict[str, list[str]]:
    table: dict[str, list[str]] = defaultdict(list)
    for word in (word for word in _list("en", "given") if not is_held_out(word)):
        letters = "^" * _CHAIN_ORDER + word.lower() + "$"
        for i in range(_CHAIN_ORDER, len(letters)):
            table[letters[i - _CHAIN_ORDER : i]].append(letters[i])
    return dict(table)


def _chain(rng: random.Random) -> str:
    """A name by a letter chain over the known names (each letter drawn by the two before it)."""
    while True:
        letters = "^" * _CHAIN_ORDER
        while not letters.endswith("$") and len(letters) < _MAX_CHAIN_LETTERS + _CHAIN_ORDER:
            letters += rng.choice(_chain_table()[letters[-_CHAIN_ORDER:]])
        name = letters.strip("^$")
        if len(name) > 2:
            return name.capitalize()
