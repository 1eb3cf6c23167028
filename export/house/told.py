"""Values a person may tell about themselves: names, cities, jobs, numbers and the rest.

Owns which values training may see; knows nothing of the sentences they are told in.
"""

import random
from collections.abc import Callable

from export.house.names import make_name, make_word, words
from export.house.split import held_out_values, train_values
from export.house.vocabulary import make_any, make_written

_WRITTEN = {
    "job": "jobs",
    "food": "foods",
    "colour": "colours",
    "animal": "animals",
    "hobby": "hobbies",
}
_ANYTHING = (
    0.65  # part of the trained values that are not of their kind: what is told is copied, never guessed
)
_NAMED_AS_WORDS = 0.2  # part of the names of friends and pets that are any word
_OTHER_THINGS = 0.3  # part of the trained things on a list that are any word
LANGUAGE_FREE = frozenset({"name", "number", "age", "friend", "pet_name"})  # the same value in both languages
_NAMES = frozenset({"name", "friend", "pet_name"})
_MAX_NUMBER = 9999


def make_value(slot: str, rng: random.Random, language: str, *, held_out: bool = False) -> str:
    """Return a value for the slot; with `held_out`, one that training never sees.

    Raises: KeyError for a slot nobody fills.
    """
    if slot in ("friend", "pet_name") and not held_out and rng.random() < _NAMED_AS_WORDS:
        return make_written(rng, language).title()
    if slot in _NAMES:
        return make_name(rng, language, held_out=held_out)
    if slot == "list" or slot in _MAKERS:
        while True:
            value = _list(rng, language, held_out) if slot == "list" else _MAKERS[slot](rng, language)
            if bool(held_out_values([value])) == held_out:
                return value
    if not held_out and rng.random() < _ANYTHING:
        value = make_any(rng, language)
        return value.title() if slot in ("city", "trip") and rng.random() < 0.8 else value
    if slot in ("city", "trip"):
        return _city(rng, language, held_out=held_out)
    written = words()[language][_WRITTEN[slot]].split("|")
    return rng.choice(held_out_values(written) if held_out else train_values(written))


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
    if language == "en":
        return f"{day} at {hour}{rng.choice(('', '', '', ':15', ':30', ':45', ' am', ' pm', ' sharp'))}"
    return f"{day}{hour}点{rng.choice(('', '', '', '半', '一刻', '整', '二十'))}"


def _secret(rng: random.Random, language: str) -> str:
    if rng.random() < 0.4:
        return make_written(rng, language, held_out=rng.random() < 0.12)
    return make_word(rng, language, held_out=rng.random() < 0.5)


def _list(rng: random.Random, language: str, held_out: bool) -> str:
    written = [item for kind in ("foods", "wares") for item in words()[language][kind].split("|")]
    seen = written if held_out else train_values(written)
    listed = rng.sample(seen, rng.choice((2, 3, 3, 4)))
    if not held_out:
        listed = [make_any(rng, language) if rng.random() < _OTHER_THINGS else item for item in listed]
    *some, last = listed
    return f"{', '.join(some)} and {last}" if language == "en" else "、".join((*some, last))


_MAKERS: dict[str, Callable[[random.Random, str], str]] = {
    "number": _number,
    "age": _age,
    "birthday": _birthday,
    "appointment": _appointment,
    "secret": _secret,
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
