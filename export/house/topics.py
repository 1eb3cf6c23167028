"""Reads the written topics: families of questions with their answers, and facts a person may tell.

Owns the shape of `topics/*.toml`. Knows nothing of how dialogues are put together.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

LANGUAGES = ("en", "zh")
_FOLDER = Path(__file__).parent / "topics"
_MEMORY, _PHRASES, _SKILLS, _FRAMES, _LESSONS, _TELLING, _COMPOUNDS = (
    f"{name}.toml" for name in ("memory", "phrases", "skills", "frames", "lessons", "telling", "compounds")
)
_NO_FAMILIES = frozenset((_MEMORY, _PHRASES, _SKILLS, _FRAMES, _LESSONS, _TELLING, _COMPOUNDS))
ACTS = ("tell", "recall", "fix")  # what somebody does with a fact
OTHER_WORDS = ("everyday", "spoken", "typed", "wide")
"""The lists beside the first one, each with a split of its own: in the words of somebody who knows none of
the field; as it is said in passing (fragments, hints); as a stranger types it (other words, reasons);
with many words at one place, each a thing that it may be about ("my (cat|dog|budgie) died"). A fifth,
`again`, is written and waits for the weights that will be the first to read it (ADR 62)."""
SUBJECTS = ("noun", "do", "can", "know", "about")  # the kinds of subject that frames go around
_ANSWERS_FOR_ALL = "outside_place"  # families without answers of their own answer as this one does


@dataclass(frozen=True)
class Family:
    """One question in many phrasings, in one language, with what an answer must say."""

    name: str
    topic: str
    language: str
    ask: tuple[str, ...]
    say: tuple[str, ...]
    facts: tuple[str, ...]  # lower case; each is a "|" list of which one must appear in a right answer
    others: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # list -> other words for it
    subjects: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # kind -> what frames go around
    more: tuple[str, ...] = ()  # answers to "tell me more"
    because: tuple[str, ...] = ()  # answers to "and why?"
    fill: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # slots of this family alone
    after: tuple[str, ...] = ()  # the families on whose answers the question leans: it is never asked first


@dataclass(frozen=True)
class MemorySlot:
    """One kind of fact a person tells about themselves, in one language."""

    name: str
    language: str
    tell: tuple[str, ...]
    ack: tuple[str, ...]
    ask: tuple[str, ...]
    know: tuple[str, ...]  # indirect questions for it
    say: tuple[str, ...]
    unknown: tuple[str, ...]
    fix: tuple[str, ...]
    fixed: tuple[str, ...]
    mine: str  # the fact in the person's own words, as part of a sentence
    clause: str  # the same in the model's words
    others: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)  # act -> list -> words
    short: tuple[str, ...] = ()  # the names of the fact that a question of three words leans on


class BadTopic(ValueError):
    """A topic file is not in the shape this module reads; the message names file, family and field."""


@cache
def load_families() -> tuple[Family, ...]:
    """Return every family of every topic file, sorted by file name, in the order written.

    Raises: BadTopic.
    """
    families = []
    for path in sorted(_FOLDER.glob("*.toml")):
        if path.name in _NO_FAMILIES:
            continue
        tables = _read(path)
        for name, table in tables.items():
            for language in LANGUAGES:
                if language in table:
                    shared = tables.get(_ANSWERS_FOR_ALL, {}).get(language, {})
                    answers = {
                        key: shared[key] for key in ("say", "more", "because", "facts") if key in shared
                    }
                    families.append(_family(path.stem, name, language, answers | table[language]))
    return tuple(families)


@cache
def load_memory() -> tuple[MemorySlot, ...]:
    """Return the kinds of facts a person may tell, one entry for each language.

    Raises: BadTopic.
    """
    fields = ("tell", "ack", "ask", "say", "unknown", "fix", "fixed")
    found = []
    telling = _read(_FOLDER / _TELLING)
    for name, table in _read(_FOLDER / _MEMORY).items():
        for language in LANGUAGES:
            entry, other = table[language], telling[name][language]
            lists = {key: _strings(entry, key, f"{_MEMORY} [{name}] {language}") for key in fields}
            lists["know"] = tuple(entry.get("know", ()))
            found.append(
                MemorySlot(
                    name,
                    language,
                    **lists,
                    mine=entry["mine"],
                    clause=entry["clause"],
                    others={act: {"everyday": tuple(other[act])} | _others(other, f"{act}_") for act in ACTS},
                    short=tuple(other["short"]),
                )
            )
    return tuple(found)


@cache
def load_compounds() -> dict[str, dict[str, tuple[str, ...]]]:
    """Return language -> kind -> patterns: sentences of several facts, and frames of short questions."""
    table = _read(_FOLDER / _COMPOUNDS)
    return {language: {key: tuple(value) for key, value in table[language].items()} for language in LANGUAGES}


@cache
def load_phrases() -> dict[str, dict[str, tuple[str, ...]]]:
    """Return language -> slot -> phrases, shared by all patterns of that language."""
    table = _read(_FOLDER / _PHRASES)
    return {language: {key: tuple(value) for key, value in table[language].items()} for language in LANGUAGES}


@cache
def load_frames() -> dict[str, dict[str, tuple[str, ...]]]:
    """Return language -> kind of subject -> the frames that go around it, the plainest first."""
    table = _read(_FOLDER / _FRAMES)
    return {language: {key: tuple(value) for key, value in table[language].items()} for language in LANGUAGES}


@cache
def load_lessons() -> dict[str, dict[str, Any]]:
    """Return language -> the questions asked back and the words around them, as `lessons.toml` has them."""
    return _read(_FOLDER / _LESSONS)


@cache
def load_skills() -> dict[str, dict[str, dict[str, Any]]]:
    """Return skill -> language -> its written parts, as `skills.toml` has them."""
    return _read(_FOLDER / _SKILLS)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    with path.open("rb") as file:
        return tomllib.load(file)


def _family(topic: str, name: str, language: str, entry: dict[str, Any]) -> Family:
    where = f"{topic}.toml [{name}] {language}"
    return Family(
        name=name,
        topic=topic,
        language=language,
        ask=_strings(entry, "ask", where),
        say=_strings(entry, "say", where),
        facts=tuple(fact.lower() for fact in entry.get("facts", ())),
        others=_others(entry),
        subjects={kind: tuple(entry[kind]) for kind in SUBJECTS if entry.get(kind)},
        more=tuple(entry.get("more", ())),
        because=tuple(entry.get("because", ())),
        fill={key: tuple(values.split("|")) for key, values in entry.get("fill", {}).items()},
        after=tuple(entry.get("after", ())),
    )


def lists_of(key: str, written: Mapping[str, Any]) -> list[str]:
    """Return the key of a list, and the keys of the lists beside it in other words that are written."""
    return [key, *(f"{key}_{name}" for name in OTHER_WORDS if f"{key}_{name}" in written)]


def _others(entry: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[str, ...]]:
    return {name: tuple(entry[prefix + name]) for name in OTHER_WORDS if prefix + name in entry}


def _strings(entry: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
    values = entry.get(key)
    if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
        raise BadTopic(f"{where}: field {key!r} must be a list of one or more strings, got {values!r}")
    return tuple(values)
