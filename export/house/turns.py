"""Writes single turns: a question as somebody would type it, with its right answer.

Owns what belongs to what in one turn: the answer to its question, the told value in both. Knows nothing of
the order of turns in a dialogue, nor of which wordings are held out.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from export.house.names import make_word
from export.house.noise import as_typed, in_other_words, with_word_lost
from export.house.phrasing import Phrasings
from export.house.skills import make_exercise
from export.house.told import make_value
from export.house.topics import Family, MemorySlot

_VOWELS = "aeiou"
_LOWER_CASE_NAMES = 0.08
_REWORDED = 0.4  # part of the trained questions in which some words stand for others
_HASTY = 0.15  # part of the trained questions with a word left out: no single word may decide


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
    """Turns in order, perhaps under a system message.

    With `opening`, so many tokens of the last answer are read and no more.
    """

    turns: tuple[Turn, ...]
    system: str = ""
    opening: int = 0

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

    def __init__(
        self,
        rng: random.Random,
        families: Sequence[Family],
        *,
        held_out: bool,
        rephrased: bool,
        reworded: bool,
        typo: float,
    ) -> None:
        self.rng, self.held_out, self.rephrased, self.typo = rng, held_out, rephrased, typo
        self.reworded = reworded and not rephrased
        self.words = Phrasings(rng, families, rephrased=rephrased)
        self.families = {(family.name, family.language): family for family in families}

    def question(self, family: Family, *, meant: bool = False) -> Turn:
        """Return a question of the family with its answer; with `meant`, it corrects the question before."""
        values = {slot: self._filler(family, slot) for slot in family.fill}
        plain = self.words.question(family, _kept(values), meant=meant)
        if self.reworded and self.rng.random() < _REWORDED:
            plain = in_other_words(plain, self.rng, family.language)
        if not self.rephrased and self.rng.random() < _HASTY:
            plain = with_word_lost(plain, self.rng, family.language)
        user = _filled(as_typed(plain, self.rng, family.language, typo=self.typo), values)
        reply = _filled(self.rng.choice(family.say), values)
        return Turn(user, reply, family.topic, family.language, family.facts)

    def follow_up(self, family: Family, said: Turn, language: str) -> Turn:
        """Return a question that leans on the turn before: more of it, its reason, or the same again."""
        kinds = ["more"] * bool(family.more) + ["why"] * bool(family.because) + ["again"]
        weights = {"more": 0.45, "why": 0.35, "again": 0.1}
        kind = self.rng.choices(kinds, [weights[kind] for kind in kinds])[0]
        user = as_typed(self.words.shared(kind, language), self.rng, language, typo=self.typo)
        reply = {"more": family.more, "why": family.because, "again": (said.reply,)}[kind]
        answer = self.rng.choice(reply)
        return Turn(user, answer, "follow-up", language, (answer.lower().rstrip(".。!！"),))

    def translated(self, family: Family) -> Turn:
        """Return the wish to hear the answer before in the other language, with that answer."""
        language = "zh" if family.language == "en" else "en"
        user = as_typed(self.words.shared("translate", family.language), self.rng, family.language)
        other = self.families[family.name, language]
        return Turn(user, other.say[0], "follow-up", language, other.facts)

    def tell(self, slot: MemorySlot, told: Told, turn: int) -> Turn:
        """Let the person tell a fact, and note it."""
        return self._memory(slot, "tell", slot.ack, self._new_value(slot, told, turn), "tell")

    def tell_several(self, slots: Sequence[MemorySlot], told: Told, turn: int) -> Turn:
        """Let the person tell two or three facts in one sentence, and note them all."""
        both = [(slot, self._new_value(slot, told, turn)) for slot in slots]
        language = slots[0].language
        mine = [with_value(slot.mine, value) for slot, value in both]
        yours = [with_value(slot.clause, value) for slot, value in both]
        user = "".join(part + self.rng.choice(_AND[language]) for part in mine[:-1]) + mine[-1]
        user = user[:1].upper() + user[1:] if self.rng.random() < 0.6 else user
        user += self.rng.choice(("", ".", "!") if language == "en" else ("", "。", "！"))
        reply = self._noted(language) + _SPACE[language] + _joined(yours, language)
        return Turn(user, reply, "tell", language)

    def tell_compound(self, slots: Mapping[str, MemorySlot], told: Told, turn: int) -> Turn | None:
        """Let the person tell some of the facts in one sentence that is made for them, and note them."""
        kept = {mark: f"{{{mark}}}" for name in slots for mark in (name, f"a_{name}")}
        language = told.language
        plain = self.words.compound(language, kept)
        found = [(plain.index(mark), name) for name in slots for mark in _marks_of(name) if mark in plain]
        if not found:
            return None
        named = [name for _, name in sorted(found)]
        values = {name: self._new_value(slots[name], told, turn) for name in named}
        user = as_typed(plain, self.rng, language, typo=self.typo / 2)
        user = _filled(
            user, values | {f"a_{name}": with_value("{a} {x}", value) for name, value in values.items()}
        )
        yours = [with_value(slots[name].clause, values[name]) for name in named]
        return Turn(
            user, self._noted(language) + _SPACE[language] + _joined(yours, language), "tell", language
        )

    def correct(self, slot: MemorySlot, told: Told, turn: int) -> Turn:
        """Let the person correct a fact told before, and note it."""
        return self._memory(slot, "fix", slot.fixed, self._new_value(slot, told, turn), "correct")

    def recall(self, slot: MemorySlot, told: Told, turn: int, *, short: bool = False) -> Turn:
        """Let the person ask for a fact told before; with `short`, in words that lean on the turn before."""
        value, told_at = told.values[slot.name]
        asked = self._memory(slot, "short" if short else "recall", slot.say, value, "recall")
        return replace(asked, facts=(value.lower(),), distance=turn - told_at)

    def ask_unknown(self, slot: MemorySlot, *, short: bool = False) -> Turn:
        """Let the person ask for a fact never told: the right answer says so."""
        asked = self._memory(slot, "short" if short else "recall", slot.unknown, "", "unknown")
        return replace(asked, facts=_NOT_TOLD[slot.language])

    def summary(self, slots: Sequence[MemorySlot], told: Told) -> Turn:
        """Let the person ask for everything told so far."""
        clauses = [with_value(slot.clause, told.values[slot.name][0]) for slot in slots]
        user = as_typed(self.words.shared("summary", told.language), self.rng, told.language, typo=self.typo)
        reply = _joined(clauses, told.language)
        facts = tuple(told.values[slot.name][0].lower() for slot in slots)
        return Turn(user, reply[:1].upper() + reply[1:], "summary", told.language, facts)

    def exercise(self, language: str) -> Turn:
        """Return a computed exercise."""
        made = make_exercise(self.rng, language, held_out=self.held_out, rephrased=self.rephrased)
        return Turn(made.ask, made.say, made.kind, language, (made.fact.lower(),))

    def system_message(self, language: str) -> str:
        """Return one of the system messages of the language."""
        return self.rng.choice(self.words.phrases[language]["system"])

    def _memory(self, slot: MemorySlot, act: str, says: Sequence[str], value: str, kind: str) -> Turn:
        kept = {mark: f"{{{mark}}}" for mark in "xXaA"}
        plain = self.words.short(slot) if act == "short" else self.words.memory(slot, act, kept)
        user = with_value(as_typed(plain, self.rng, slot.language, typo=self.typo / 2), value)
        return Turn(user, with_value(self.rng.choice(says), value), kind, slot.language)

    def _new_value(self, slot: MemorySlot, told: Told, turn: int) -> str:
        value = make_value(slot.name, self.rng, slot.language, held_out=self.held_out)
        if slot.name in _NAMES and self.rng.random() < _LOWER_CASE_NAMES:
            value = value.lower()
        told.values[slot.name] = (value, turn)
        return value

    def _filler(self, family: Family, slot: str) -> str:
        if family.fill[slot] == ("",):
            return make_word(self.rng, family.language, held_out=self.held_out)
        return self.words.filler(family, slot, held_out=self.held_out)

    def _noted(self, language: str) -> str:
        return self.rng.choice(self.words.phrases[language]["noted"])


_NOT_TOLD = {"en": ("have not|don't know",), "zh": ("还没有|还不知道",)}
_NAMES = ("name", "friend", "pet_name")
_SPACE = {"en": " ", "zh": ""}
_AND = {"en": (" and ", ", and ", ", "), "zh": ("，", "，", "，而且")}


def _marks_of(name: str) -> tuple[str, str]:
    return f"{{{name}}}", f"{{a_{name}}}"


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
