"""Composes dialogues of one to a dozen turns: topics, follow-ups, facts told, corrected and asked for.

Owns the order of things in a dialogue. Knows neither sentences (`turns`) nor tokens nor files.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

from export.house.told import LANGUAGE_FREE
from export.house.topics import LANGUAGES, Family, MemorySlot, load_families, load_memory
from export.house.turns import Dialogue, Told, Turn, TurnWriter

_LENGTHS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12)
_LENGTH_WEIGHTS = (8, 8, 10, 14, 14, 13, 10, 7, 5, 2)
_ENGLISH = 0.55  # part of dialogues that begin in English
_SWITCH = 0.03  # chance at each turn that the person changes the language
_SYSTEM = 0.10  # part of dialogues under a system message
_FAMILY_WEIGHTS = {"outside": 9.0, "medical": 3.0, "hello": 2.0, "your_name": 2.0}  # wide ones need more
_NAME_WEIGHT = 2.5  # the name is asked for more often than any other fact
_SUMMARY_SLOTS = 3
_EXERCISES = 0.22  # part of the turns about nothing told


class Composer:
    """Draws dialogues from the written topics, with one random generator for everything.

    With `held_out`, told values are ones never trained on, and questions are held-out phrasings unless
    `rephrased` says otherwise.
    """

    def __init__(
        self,
        rng: random.Random,
        *,
        held_out: bool = False,
        rephrased: bool | None = None,
        typo: float = 0.05,
    ) -> None:
        self.rng = rng
        self.write = TurnWriter(
            rng, held_out=held_out, rephrased=held_out if rephrased is None else rephrased, typo=typo
        )
        families = load_families()
        self.families = {lang: [f for f in families if f.language == lang] for lang in LANGUAGES}
        self.weights = {
            lang: [_FAMILY_WEIGHTS.get(f.name, 1.0) for f in found] for lang, found in self.families.items()
        }
        self.memory = {(slot.name, slot.language): slot for slot in load_memory()}
        self.slot_names = sorted({name for name, _ in self.memory})

    def dialogue(self) -> Dialogue:
        """Return a dialogue of any kind."""
        rng = self.rng
        told = Told("en" if rng.random() < _ENGLISH else "zh")
        length = rng.choices(_LENGTHS, weights=_LENGTH_WEIGHTS)[0]
        system = self.write.system_message(told.language) if rng.random() < _SYSTEM else ""
        turns: list[Turn] = []
        family: Family | None = None
        for at in range(length):
            if rng.random() < _SWITCH:
                told.language = "zh" if told.language == "en" else "en"
                family = None
            turn, family = self._step(told, family, at, last=at == length - 1)
            turns.append(turn)
        return Dialogue(tuple(turns), system)

    def recall_dialogue(self, slot_name: str, language: str, distance: int) -> Dialogue:
        """Return a dialogue whose last turn asks for a fact told `distance` turns before."""
        told = Told(language)
        slot = self.memory[slot_name, language]
        turns = [self.write.tell(slot, told, 0), *self._small_turns(language, distance - 1)]
        return Dialogue((*turns, self.write.recall(slot, told, distance)))

    def correction_dialogue(self, slot_name: str, language: str) -> Dialogue:
        """Return a dialogue that tells a fact, corrects it, talks of something else and asks for it."""
        told = Told(language)
        slot = self.memory[slot_name, language]
        turns = [self.write.tell(slot, told, 0), self.write.correct(slot, told, 1)]
        turns += self._small_turns(language, 1)
        asked = self.write.recall(slot, told, len(turns))
        return Dialogue((*turns, replace(asked, kind="corrected")))

    def _step(self, told: Told, family: Family | None, at: int, *, last: bool) -> tuple[Turn, Family | None]:
        known = [name for name in told.values if _is_sayable(name, told)]
        if known and self.rng.random() < (0.75 if last else 0.22):
            return self._ask_known(known, told, at), None
        fresh = [name for name in self.slot_names if name not in told.values]
        draw = self.rng.random()
        if fresh and not last and draw < (0.65 if at == 0 else 0.16):
            return self._tell(fresh, told, at), None
        if known and draw > 0.95:
            return self.write.correct(self._slot(self.rng.choice(known), told), told, at), None
        if fresh and draw > 0.915:
            return self.write.ask_unknown(self._slot(self.rng.choice(fresh), told)), None
        return self._small_step(told.language, family)

    def _ask_known(self, known: Sequence[str], told: Told, at: int) -> Turn:
        if len(known) > 1 and self.rng.random() < 0.12:
            return self.write.summary([self._slot(name, told) for name in known[:_SUMMARY_SLOTS]], told)
        weights = [_NAME_WEIGHT if name == "name" else 1.0 for name in known]
        return self.write.recall(self._slot(self.rng.choices(known, weights)[0], told), told, at)

    def _tell(self, fresh: Sequence[str], told: Told, at: int) -> Turn:
        first = "name" if "name" in fresh and self.rng.random() < 0.5 else self.rng.choice(fresh)
        others = [name for name in fresh if name != first]
        if others and self.rng.random() < 0.2:
            second = self.rng.choice(others)
            return self.write.tell_two(self._slot(first, told), self._slot(second, told), told, at)
        return self.write.tell(self._slot(first, told), told, at)

    def _small_turns(self, language: str, count: int) -> list[Turn]:
        turns: list[Turn] = []
        family: Family | None = None
        for _ in range(count):
            turn, family = self._small_step(language, family)
            turns.append(turn)
        return turns

    def _small_step(self, language: str, family: Family | None) -> tuple[Turn, Family | None]:
        """A turn that neither tells nor asks for a fact."""
        draw = self.rng.random()
        if family and family.more and draw < 0.3:
            return self.write.follow_up(family), None
        if draw > 1 - _EXERCISES:
            return self.write.exercise(language), None
        family = self.rng.choices(self.families[language], weights=self.weights[language])[0]
        return self.write.question(family), family

    def _slot(self, name: str, told: Told) -> MemorySlot:
        return self.memory[name, told.language]


def _is_sayable(name: str, told: Told) -> bool:
    """Whether a told value can be said in the language spoken now."""
    return name in LANGUAGE_FREE or told.values[name][0].isascii() == (told.language == "en")
