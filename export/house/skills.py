"""Small skills that are computed, not written: sums, echoing, spelling, counting, places in a list.

Each maker returns a question and its right answer; `skills.toml` has the words. Knows nothing of dialogues.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from export.house.grammar import expand
from export.house.names import make_name, words
from export.house.numerals import numeral
from export.house.split import held_out_values, split_phrasings, train_values
from export.house.topics import lists_of, load_families, load_phrases, load_skills
from export.house.vocabulary import make_blend, make_written

EXERCISE_KINDS = ("sum", "echo", "ends", "letters", "order")
LARGEST_OPERAND = 20
_LARGEST_NUMBER = 40
_ECHOED_WORDS = (1, 1, 2, 3, 5, 8)
_STORIES = 0.25  # part of the sums that are told as a story
_IN_WORDS = 0.3  # part of the sums whose numbers are words
_AMONG_ANY = 0.5  # part of the trained sums, stories aside, with words of other questions around them
_ANY_WORDS, _ANY_CHARACTERS = 6, 8  # at most so many on each side
_SPELLED_NAMES, _SPELLED_WRITTEN = 0.4, 0.35  # parts of the words to spell
_ECHOED_WRITTEN = 0.4  # part of the words to repeat that are real ones
_BLENDED = 0.35  # part of the trained English words, to spell or to repeat, that are blends
_NO_PIECE = re.compile(r"[\d+=]|^[.,?!，。？！ ]")  # of a question around a sum
_PLAIN_ASKS = 2  # the first ways to ask are never held out


@dataclass(frozen=True)
class Exercise:
    """One question with its right answer; `fact` is what a right answer must contain."""

    kind: str
    ask: str
    say: str
    fact: str


def make_sum(rng: random.Random, language: str, *, held_out: bool = False) -> Exercise:
    """Return a sum or a difference of numbers up to 20; held out are phrasings, every sum is trained."""
    written = load_skills()["sum"][language]
    sign = rng.choice("+-")
    a, b = rng.randint(0, LARGEST_OPERAND), rng.randint(0, LARGEST_OPERAND)
    a, b = (max(a, b), min(a, b)) if sign == "-" else (a, b)
    result = a + b if sign == "+" else a - b
    story = rng.random() < _STORIES
    key = "plus_story" if sign == "+" else "minus_story"
    spoken = (numeral(a, language), numeral(b, language)) if rng.random() < _IN_WORDS else (str(a), str(b))
    signs = written["plus" if sign == "+" else "minus"]
    if story:
        ask = _ask(
            "sum",
            language,
            rng,
            {"a": spoken[0], "b": spoken[1], "t": rng.choice(written["things"])},
            key=key,
            held_out=held_out,
        )
    elif not held_out and rng.random() < _AMONG_ANY:
        ask = _among_any(_joined_sum(spoken, [sign for sign in signs if sign != "and"], rng), language, rng)
    else:
        ask = _ask("sum", language, rng, {"e": _joined_sum(spoken, signs, rng)}, held_out=held_out)
    ask = ask if rng.random() < 0.8 else ask.rstrip("?？")
    say = written["say"].format(a=a, s=sign, b=b, r=result)
    return Exercise("sum", ask[:1].upper() + ask[1:] if rng.random() < 0.3 else ask, say, f"= {result}")


def make_echo(
    rng: random.Random, language: str, *, held_out: bool = False, rephrased: bool = False
) -> Exercise:
    """Return a wish to repeat some unknown words; the long ones are where copying is learned fastest."""
    made = [_any_word(rng, language, held_out=held_out) for _ in range(rng.choice(_ECHOED_WORDS))]
    text = " ".join(word.lower() if rng.random() < 0.5 else word for word in made)
    ask = _ask("echo", language, rng, {"w": text}, held_out=rephrased)
    return Exercise("echo", ask, text, text)


def make_ends(
    rng: random.Random, language: str, *, held_out: bool = False, rephrased: bool = False
) -> Exercise:
    """Return a question for the first, second or last of two to four words."""
    listed = [_any_word(rng, language, held_out=held_out) for _ in range(rng.choice((2, 3, 3, 4)))]
    place = rng.choice(("first", "first", "last", "last", "second"))
    chosen = {"first": listed[0], "last": listed[-1], "second": listed[1]}[place]
    joined = (", " if language == "en" else "、").join(listed)
    ask = _ask(place, language, rng, {"w": joined}, held_out=rephrased)
    return Exercise("ends", ask, _say(place, language, {"x": chosen}), chosen)


def make_letters(
    rng: random.Random, language: str, *, held_out: bool = False, rephrased: bool = False
) -> Exercise:
    """Return a wish to spell an English word, or to count its letters."""
    skill = rng.choice(("spell", "spell", "letters"))
    word = _spellable(rng, held_out=held_out)
    letters = "-".join(word.lower())
    values = {"x": word, "l": letters, "n": str(len(word))}
    fact = letters if skill == "spell" else f" {len(word)} "
    ask = _ask(skill, language, rng, values, held_out=rephrased)
    said = _say(skill, language, values)
    return Exercise("letters", ask, said, fact if fact in said else str(len(word)))


def make_order(
    rng: random.Random, language: str, *, held_out: bool = False, rephrased: bool = False
) -> Exercise:
    """Return a question about the order of numbers or of days, or for how many words there are."""
    skill = rng.choice(("after", "larger", "count", "weekday", "howmany"))
    if skill == "howmany":
        return _how_many(rng, language, held_out=held_out, rephrased=rephrased)
    n = rng.randint(2, 12) if skill == "count" else rng.randint(0, _LARGEST_NUMBER)
    m = n + 1 if skill == "after" else rng.choice([k for k in range(_LARGEST_NUMBER) if k != n])
    day = rng.randrange(7)
    values = {"n": str(n), "m": str(m), "x": str(max(n, m)), "l": ", ".join(map(str, range(1, n + 1)))}
    if skill == "weekday":
        days = words()[language]["weekdays"].split()
        values |= {"x": days[day], "l": days[(day + 1) % 7]}
    fact = {"after": values["m"], "larger": values["x"], "count": values["l"], "weekday": values["l"]}[skill]
    ask = _ask(skill, language, rng, values, held_out=rephrased)
    return Exercise("order", ask, _say(skill, language, values), fact)


def _how_many(rng: random.Random, language: str, *, held_out: bool, rephrased: bool) -> Exercise:
    listed = [make_name(rng, language, held_out=held_out) for _ in range(rng.randint(2, 6))]
    joined = (", " if language == "en" else "、").join(listed)
    ask = _ask("howmany", language, rng, {"w": joined}, held_out=rephrased)
    return Exercise("order", ask, _say("howmany", language, {"n": str(len(listed))}), str(len(listed)))


_MAKERS: tuple[Callable[..., Exercise], ...] = (make_echo, make_ends, make_letters, make_order)
_WEIGHTS = (0.35, 0.2, 0.25, 0.2)
_SUMS = 0.4  # part of the exercises


def make_exercise(
    rng: random.Random, language: str, *, held_out: bool = False, rephrased: bool | None = None
) -> Exercise:
    """Return an exercise of any kind; `held_out` chooses the words in it, `rephrased` those around them."""
    other = held_out if rephrased is None else rephrased
    if rng.random() < _SUMS:
        return make_sum(rng, language, held_out=other)
    maker: Callable[..., Exercise] = rng.choices(_MAKERS, weights=_WEIGHTS)[0]
    return maker(rng, language, held_out=held_out, rephrased=other)


def _ask(
    skill: str,
    language: str,
    rng: random.Random,
    values: Mapping[str, str],
    *,
    key: str = "ask",
    held_out: bool,
) -> str:
    written: dict[str, Any] = load_skills()[skill][language]
    key = rng.choice(lists_of(key, written))
    train, unseen = split_phrasings(f"skill/{skill}/{language}/{key}", written[key], keep=_PLAIN_ASKS)
    return expand(rng.choice(unseen if held_out and unseen else train), rng, {}, values)


def _say(skill: str, language: str, values: Mapping[str, str]) -> str:
    return str(load_skills()[skill][language]["say"]).format(**values)


def _among_any(asked: str, language: str, rng: random.Random) -> str:
    """The sum between pieces of other questions: two numbers joined by a sign are always the question.

    A model that reads every sum in one of some hundred ways to ask learns these ways, not what a sum is.
    """
    before = _piece(language, rng) if rng.random() < 0.8 else ""
    after = _piece(language, rng) if rng.random() < 0.6 or not before else ""
    mark = rng.choice(("", "", ", ", ": ")) if language == "en" else rng.choice(("", "", "，", "："))
    space = " " if language == "en" else ""
    text = f"{before}{mark or space}{asked}" if before else asked
    return f"{text}{rng.choice(('', '', ',' if language == 'en' else '，'))}{space}{after}" if after else text


def _piece(language: str, rng: random.Random) -> str:
    """A few words in a row, in Chinese characters, of a question that training may see."""
    family = rng.choice([family for family in load_families() if family.language == language])
    patterns, _ = split_phrasings(f"{family.name}/{language}/ask", family.ask, keep=_PLAIN_ASKS)
    text = expand(rng.choice(patterns), rng, load_phrases()[language], dict.fromkeys(family.fill, ""))
    units = [unit for unit in (text.split() if language == "en" else text) if not _NO_PIECE.search(unit)]
    if not units:
        return ""
    most = min(len(units), _ANY_WORDS if language == "en" else _ANY_CHARACTERS)
    start = rng.randrange(len(units) - (count := rng.randint(1, most)) + 1)
    return (" " if language == "en" else "").join(units[start : start + count])


def _joined_sum(spoken: tuple[str, str], signs: Sequence[str], rng: random.Random) -> str:
    sign = rng.choice(signs)
    written_out = spoken[0].isascii() and not spoken[0].isdigit()  # "twenty-seven" is one number
    tight = (sign in "+-" or not sign.isascii()) and not written_out and rng.random() < 0.5
    return (f"{sign}" if tight else f" {sign} ").join(spoken)


def _spellable(rng: random.Random, *, held_out: bool) -> str:
    if not held_out and rng.random() < _BLENDED:
        return make_blend(rng)
    draw = rng.random()
    if draw < _SPELLED_NAMES:
        return next(
            name for name in iter(lambda: make_name(rng, "en", held_out=held_out), "") if _is_plain(name)
        )
    if draw < _SPELLED_NAMES + _SPELLED_WRITTEN:
        return make_written(rng, "en", held_out=held_out)
    written = [w for kind in ("foods", "animals", "colours", "jobs") for w in words()["en"][kind].split("|")]
    plain = [word for word in written if word.isalpha()]
    return rng.choice(held_out_values(plain) if held_out else train_values(plain))


def _any_word(rng: random.Random, language: str, *, held_out: bool) -> str:
    if language == "en" and not held_out and rng.random() < _BLENDED:
        return make_blend(rng)
    if rng.random() < _ECHOED_WRITTEN:
        return make_written(rng, language, held_out=held_out)
    return make_name(rng, language, held_out=held_out)


def _is_plain(name: str) -> bool:
    return name.isascii() and name.isalpha()
