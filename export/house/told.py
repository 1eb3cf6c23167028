"""Values a person may tell about themselves: names, cities, jobs, numbers and the rest.

Owns which values training may see; knows nothing of the sentences they are told in.
"""

import random
from collections.abc import Callable

from export.house.names import make_name, make_word, words
from export.house.split import held_out_values, train_values

_WRITTEN = {
    "job": "jobs",
    "food": "foods",
    "colour": "colours",
    "animal": "animals",
    "hobby": "hobbies",
}
_ANYTHING = (
    0.3  # part of the trained values that are not of their kind: what is told is copied, never guessed
)
LANGUAGE_FREE = frozenset({"name", "number", "age", "friend", "pet_name"})  # the same value in both languages
_NAMES = frozenset({"name", "friend", "pet_name"})
_MAX_NUMBER = 9999


def make_value(slot: str, rng: random.Random, language: str, *, held_out: bool = False) -> str:
    """Return a value for the slot; with `held_out`, one that training never sees.

    Raises: KeyError for a slot nobody fills.
    """
    if slot in _NAMES:
        return make_name(rng, language, held_out=held_out)
    if slot in _MAKERS:
        while True:
            value = _MAKERS[slot](rng, language)
            if bool(held_out_values([value])) == held_out:
                return value
    if not held_out and rng.random() < _ANYTHING:
        return _anything(rng, language)
    if slot in ("city", "trip"):
        return _city(rng, language, held_out=held_out)
    written = words()[language][_WRITTEN[slot]].split("|")
    return rng.choice(held_out_values(written) if held_out else train_values(written))


def _anything(rng: random.Random, language: str) -> str:
    """A word that means nothing, or one of another kind."""
    if rng.random() < 0.6:
        return make_word(rng, language)
    return rng.choice(train_values(words()[language][rng.choice((*_WRITTEN.values(), "wares"))].split("|")))


def _number(rng: random.Random, language: str) -> str:
    del language
    return str(rng.randint(1, 99) if rng.random() < 0.6 else rng.randint(100, _MAX_NUMBER))


def _age(rng: random.Random, language: str) -> str:
    del language
    return str(rng.randint(5, 99))


def _birthday(rng: random.Random, language: str) -> str:
    month, day = rng.randrange(12), rng.randint(1, 28)
    return (
        f"{words()[language]['months'].split()[month]} {day}" if language == "en" else f"{month + 1}月{day}日"
    )


def _appointment(rng: random.Random, language: str) -> str:
    day, hour = rng.choice(words()[language]["days"].split()), rng.randint(1, 12)
    return f"{day} at {hour}" if language == "en" else f"{day}{hour}点"


def _secret(rng: random.Random, language: str) -> str:
    return make_word(rng, language, held_out=rng.random() < 0.5)


def _list(rng: random.Random, language: str) -> str:
    written = [item for kind in ("foods", "wares") for item in words()[language][kind].split("|")]
    *some, last = rng.sample(written, rng.choice((2, 3, 3, 4)))
    return f"{', '.join(some)} and {last}" if language == "en" else "、".join((*some, last))


_MAKERS: dict[str, Callable[[random.Random, str], str]] = {
    "number": _number,
    "age": _age,
    "birthday": _birthday,
    "appointment": _appointment,
    "secret": _secret,
    "list": _list,
}


def _city(rng: random.Random, language: str, *, held_out: bool) -> str:
    written = words()[language]["cities"]
    names = written.split("|") if language == "zh" else written.split()
    if rng.random() < 0.5:
        return rng.choice(held_out_values(names) if held_out else train_values(names))
    return _made_up_city(rng, language, held_out=held_out)


def _made_up_city(rng: random.Random, language: str, *, held_out: bool) -> str:
    while True:
        if language == "zh":
            city = "".join(rng.choices(words()["zh"]["sounds"], k=rng.choice((2, 3)))) + rng.choice(
                ("", "市", "城")
            )
        else:
            city = make_name(rng, "en", held_out=held_out)
        if city.isascii() == (language == "en") and bool(held_out_values([city])) == held_out:
            return city
