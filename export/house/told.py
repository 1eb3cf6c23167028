"""Values a person may tell about themselves: names, cities, jobs, numbers and the rest.

Owns which values training may see; knows nothing of the sentences they are told in.
"""

import random

from export.house.names import make_name, words
from export.house.split import held_out_values, train_values

_WRITTEN = {
    "job": "jobs",
    "food": "foods",
    "colour": "colours",
    "animal": "animals",
    "hobby": "hobbies",
}
LANGUAGE_FREE = frozenset({"name", "number"})  # the same value in both languages
_MAX_NUMBER = 9999


def make_value(slot: str, rng: random.Random, language: str, *, held_out: bool = False) -> str:
    """Return a value for the slot; with `held_out`, one that training never sees.

    Raises: KeyError for a slot nobody fills.
    """
    if slot == "name":
        return make_name(rng, language, held_out=held_out)
    if slot == "number":
        return _number(rng, held_out=held_out)
    if slot == "city":
        return _city(rng, language, held_out=held_out)
    written = words()[language][_WRITTEN[slot]].split("|")
    return rng.choice(held_out_values(written) if held_out else train_values(written))


def _number(rng: random.Random, *, held_out: bool) -> str:
    while True:
        value = str(rng.randint(1, 99) if rng.random() < 0.6 else rng.randint(100, _MAX_NUMBER))
        if bool(held_out_values([value])) == held_out:
            return value


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
