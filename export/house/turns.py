"""Writes single turns: a question as somebody would type it, with its right answer.

Owns what is held out inside one turn: the phrasing, the told value, the filler. Knows nothing of the order of
turns in a dialogue.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from export.house.grammar import expand
from export.house.noise import as_typed
from export.house.skills import make_exercise
from export.house.split import split_phrasings
from export.house.told import make_value
from export.house.topics import Family, MemorySlot, load_phrases

_VOWELS = "aeiou"
_LOWER_CASE_NAMES = 0.08


@dataclass(frozen=True)
class Turn:
    """One question with the right answer; each fact ("a|b" is a or b) must appear in a right answer."""

    user: str
    reply: str
    kind: str
    language: str
    facts: tuple[str, ...] = ()
    distance: int = 0  # turns since the fact asked for was told


@dataclass(frozen=True)
class Dialogue:
    """Turns in order, perhaps under a system message."""

    turns: tuple[Turn, ...]
    system: str = ""

    def messages(self) -> list[dict[str, str]]:
        """Return the dialogue as chat messages."""
        messages = [{"role": "system", "content": self.system}] if self.system else []
        for turn in self.turns:
            messages.append({"role": "user", "content": turn.user})
            messages.append({"role": "assistant", "content": turn.reply})
        return messages


@dataclass
class Told:
    """What the person has told so far: slot -> (value, turn in which it was told last)."""

    language: str
    values: dict[str, tuple[str, int]] = field(default_factory=dict)


class TurnWriter:
    """Draws turns; with `held_out`, told values that training never sees, with `rephrased` such phrasings."""

    def __init__(self, rng: random.Random, *, held_out: bool, rephrased: bool, typo: float) -> None:
        self.rng, self.held_out, self.rephrased, self.typo = rng, held_out, rephrased, typo
        self.phrases = load_phrases()

    def question(self, family: Family) -> Turn:
        """Return a question of the family with its answer."""
        pattern = self._pick(f"{family.name}/{family.language}", family.ask)
        values = {slot: self._filler(family, slot) for slot in family.fill}
        plain = expand(pattern, self.rng, self.phrases[family.language], _kept(values))
        user = _filled(as_typed(plain, self.rng, family.language, typo=self.typo), values)
        reply = _filled(self.rng.choice(family.say), values)
        return Turn(user, reply, family.topic, family.language, family.facts)

    def follow_up(self, family: Family) -> Turn:
        """Return a wish to hear more about the family, with its answer."""
        language = family.language
        user = as_typed(self._shared("more", language), self.rng, language)
        return Turn(user, self.rng.choice(family.more), "follow-up", language)

    def tell(self, slot: MemorySlot, told: Told, turn: int) -> Turn:
        """Let the person tell a fact, and note it."""
        value = self._new_value(slot, told, turn)
        return self._memory(slot, slot.tell, slot.ack, value, "tell")

    def tell_two(self, first: MemorySlot, second: MemorySlot, told: Told, turn: int) -> Turn:
        """Let the person tell two facts in one sentence, and note both."""
        both = [(slot, self._new_value(slot, told, turn)) for slot in (first, second)]
        language = first.language
        mine = [with_value(slot.mine, value) for slot, value in both]
        yours = [with_value(slot.clause, value) for slot, value in both]
        user = mine[0] + self.rng.choice(_AND[language]) + mine[1]
        user = user[:1].upper() + user[1:] if self.rng.random() < 0.6 else user
        reply = self._shared("noted", language) + _SPACE[language] + _joined(yours, language)
        return Turn(user, reply, "tell", language)

    def correct(self, slot: MemorySlot, told: Told, turn: int) -> Turn:
        """Let the person correct a fact told before, and note it."""
        value = self._new_value(slot, told, turn)
        return self._memory(slot, slot.fix, slot.fixed, value, "correct")

    def recall(self, slot: MemorySlot, told: Told, turn: int) -> Turn:
        """Let the person ask for a fact told before."""
        value, told_at = told.values[slot.name]
        asked = self._memory(slot, slot.ask, slot.say, value, "recall")
        return replace(asked, facts=(value.lower(),), distance=turn - told_at)

    def ask_unknown(self, slot: MemorySlot) -> Turn:
        """Let the person ask for a fact never told: the right answer says so."""
        return self._memory(slot, slot.ask, slot.unknown, "", "unknown")

    def summary(self, slots: Sequence[MemorySlot], told: Told) -> Turn:
        """Let the person ask for everything told so far."""
        clauses = [with_value(slot.clause, told.values[slot.name][0]) for slot in slots]
        user = as_typed(self._shared("summary", told.language), self.rng, told.language)
        reply = _joined(clauses, told.language)
        facts = tuple(told.values[slot.name][0].lower() for slot in slots)
        return Turn(user, reply[:1].upper() + reply[1:], "summary", told.language, facts)

    def exercise(self, language: str) -> Turn:
        """Return a computed exercise."""
        made = make_exercise(self.rng, language, held_out=self.held_out)
        return Turn(made.ask, made.say, made.kind, language, (made.fact.lower(),))

    def system_message(self, language: str) -> str:
        """Return one of the system messages of the language."""
        return self._shared("system", language)

    def _memory(
        self, slot: MemorySlot, asks: Sequence[str], says: Sequence[str], value: str, kind: str
    ) -> Turn:
        asked_as = "recall" if kind == "unknown" else kind  # the same questions, so the same are held out
        pattern = self._pick(f"memory/{slot.name}/{slot.language}/{asked_as}", asks)
        plain = expand(
            pattern, self.rng, self.phrases[slot.language], {mark: f"{{{mark}}}" for mark in "xXaA"}
        )
        user = with_value(as_typed(plain, self.rng, slot.language, typo=self.typo / 2), value)
        return Turn(user, with_value(self.rng.choice(says), value), kind, slot.language)

    def _new_value(self, slot: MemorySlot, told: Told, turn: int) -> str:
        value = make_value(slot.name, self.rng, slot.language, held_out=self.held_out)
        if slot.name == "name" and self.rng.random() < _LOWER_CASE_NAMES:
            value = value.lower()
        told.values[slot.name] = (value, turn)
        return value

    def _pick(self, key: str, patterns: Sequence[str]) -> str:
        train, held_out = split_phrasings(key, patterns)
        return self.rng.choice(held_out if self.rephrased and held_out else train)

    def _filler(self, family: Family, slot: str) -> str:
        return self._pick(f"fill/{family.name}/{family.language}/{slot}", family.fill[slot])

    def _shared(self, name: str, language: str) -> str:
        return expand(f"{{{name}}}", self.rng, self.phrases[language])


_SPACE = {"en": " ", "zh": ""}
_AND = {"en": (" and ", ", and ", ", "), "zh": ("，", "，", "，而且")}


def with_value(text: str, value: str) -> str:
    """Put a told value and its article into a sentence; {X} and {A} start a sentence."""
    article = "an" if value[:1].lower() in _VOWELS else "a"
    marks = {"x": value, "X": value[:1].upper() + value[1:], "a": article, "A": article.capitalize()}
    return _filled(text, marks)


def _filled(text: str, values: Mapping[str, str]) -> str:
    for slot, value in values.items():
        text = text.replace(f"{{{slot}}}", value)
    return text


def _kept(values: Mapping[str, str]) -> dict[str, str]:
    return {slot: f"{{{slot}}}" for slot in values}


def _joined(clauses: Sequence[str], language: str) -> str:
    if language == "zh":
        return "，".join(clauses) + "。"
    return (", ".join(clauses[:-1]) + " and " if clauses[:-1] else "") + clauses[-1] + "."
