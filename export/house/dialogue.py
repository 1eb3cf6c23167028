"""Composes dialogues of one to a dozen turns: topics, follow-ups, facts told, corrected and asked for.

Owns the order of things in a dialogue. Knows neither sentences (`turns`) nor tokens nor files.
"""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from export.house.lessons import Tutor
from export.house.told import LANGUAGE_FREE
from export.house.topics import LANGUAGES, Family, MemorySlot, load_families, load_memory
from export.house.turns import Dialogue, Told, Turn, TurnWriter

_LENGTHS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 24)
_LENGTH_WEIGHTS = (13, 10, 12, 13, 13, 12, 9, 7, 5, 3, 1.5, 1.5)
ENGLISH = 0.58  # part of dialogues that begin in English
_SWITCH = 0.03  # chance at each turn that the person changes the language
_SYSTEM = 0.08  # part of dialogues under a system message
_FAMILY_WEIGHTS = {
    "medical": 3.0,
    "emergency": 3.0,
    "crisis": 3.0,
    "statement": 3.0,
    "your_name": 1.5,
    "what_is_dormouse": 1.5,
    "sad": 1.5,
}
_OUTSIDE, _OUTSIDE_PART = "outside", 0.28  # the world is wide: part of the questions that lie outside
_NAME_WEIGHT = 2.5  # the name is asked for more often than any other fact
_SUMMARY_SLOTS = 3
_KNOWN = 0.05  # added to the part missed of every family that is practised: none is left out
_EXERCISES, _LESSONS = 0.16, 0.03  # parts of the turns about nothing told
_DRILLS = 0.07  # part of dialogues that are exercises one after another
_DRILL_TURNS = (5, 12)
_MEMORY_ONLY = 0.28  # part of dialogues about told facts alone: several, corrected, asked for in any order
_FAR = 0.08  # part of dialogues that tell at the start and ask after many other turns
_FAR_TURNS = (2, 10)
_UNKNOWN, _UNKNOWN_ONLY = 0.03, 0.10  # chance that a fact never told is asked for, and where facts are all
_SHORT = 0.45  # part of the questions for a fact, after another about facts, that lean on it
_SHORT_AFTER = ("recall", "unknown", "correct", "tell")
_COMPOUND = 0.3  # part of the tellings that are one sentence made for several facts
_SMALL = 0.1  # how much is said beside, where facts are all
_TOLD_TURNS = (2, 5)
_QUESTIONS = (1, 1, 2)  # turns of a dialogue of questions alone
_FOLLOW_UP, _MEANT, _TRANSLATED = 0.30, 0.05, 0.03  # what may come after a question
_LEANING = 0.5  # chance of a question about "it", where one is written for the answer before
_FOLLOWED_AGAIN = 0.4  # chance that a follow-up may be followed by another


class Composer:
    """Draws dialogues from the written topics, with one random generator for everything.

    With `held_out`, told values are ones never trained on, and questions are held-out phrasings unless
    `rephrased` says otherwise. Without `reworded`, no word of a trained question stands for another.
    `english` is the part that begins in English.
    """

    def __init__(
        self,
        rng: random.Random,
        *,
        held_out: bool = False,
        rephrased: bool | None = None,
        reworded: bool = True,
        typo: float = 0.2,
        english: float = ENGLISH,
    ) -> None:
        self.rng, self.english = rng, english
        words_unseen = held_out if rephrased is None else rephrased
        families = load_families()
        self.write = TurnWriter(
            rng, families, held_out=held_out, rephrased=words_unseen, reworded=reworded, typo=typo
        )
        self.tutor = Tutor(rng, rephrased=words_unseen)
        self.families = {
            lang: [f for f in families if f.language == lang and not f.after] for lang in LANGUAGES
        }
        self.leaning: dict[tuple[str, str], list[Family]] = defaultdict(list)
        for family in families:
            for before in family.after:
                self.leaning[before, family.language].append(family)
        self.weights = {lang: _weights(found) for lang, found in self.families.items()}
        self.memory = {(slot.name, slot.language): slot for slot in load_memory()}
        self.slot_names = sorted({name for name, _ in self.memory})

    def prefer(self, missed: Mapping[tuple[str, str], float]) -> None:
        """Ask for families (name, language) as much more often as the part of them that is missed says.

        What lies outside keeps its part of all questions.
        """
        for language, families in self.families.items():
            weights = self.weights[language]
            for outside in (False, True):
                chosen = [i for i, f in enumerate(families) if (f.topic == _OUTSIDE) == outside]
                harder = [weights[i] * (_KNOWN + missed[families[i].name, language]) for i in chosen]
                scale = sum(weights[i] for i in chosen) / sum(harder)
                for i, weight in zip(chosen, harder, strict=True):
                    weights[i] = weight * scale

    def dialogue(self) -> Dialogue:
        """Return a dialogue of any kind."""
        rng = self.rng
        language = self._language()
        system = self.write.system_message(language) if rng.random() < _SYSTEM else ""
        draw = rng.random()
        if draw < _DRILLS:
            return Dialogue(
                tuple(self.write.exercise(language) for _ in range(rng.randint(*_DRILL_TURNS))), system
            )
        length = rng.choices(_LENGTHS, weights=_LENGTH_WEIGHTS)[0]
        if draw > 1 - _FAR:
            return Dialogue(tuple(self._far_turns(Told(language))), system)
        small = _SMALL if draw < _DRILLS + _MEMORY_ONLY else 1.0
        return Dialogue(tuple(self._turns(language, length, small)), system)

    def questions(self, *, single: bool = False) -> Dialogue:
        """Return a question about nothing told, an exercise or a lesson; or, not `single`, two turns."""
        language = self._language()
        return Dialogue(tuple(self._small_turns(language, 1 if single else self.rng.choice(_QUESTIONS))))

    def told_facts(self) -> Dialogue:
        """Return a short dialogue about told facts alone: told, mended, asked for, perhaps never told."""
        language = self._language()
        return Dialogue(tuple(self._turns(language, self.rng.randint(*_TOLD_TURNS), _SMALL)))

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

    def several_dialogue(self, language: str, distance: int) -> Dialogue:
        """Return a dialogue that tells three facts at once and asks for one `distance` turns later."""
        told = Told(language)
        slots = [self.memory[name, language] for name in self.rng.sample(self.slot_names, 3)]
        turns = [self.write.tell_several(slots, told, 0), *self._small_turns(language, distance - 1)]
        return Dialogue((*turns, self.write.recall(self.rng.choice(slots), told, distance)))

    def _turns(self, language: str, length: int, small: float) -> list[Turn]:
        """At least so many turns; `small` is how much of them is about nothing told, 1 as people mix it."""
        told = Told(language)
        turns: list[Turn] = []
        family: Family | None = None
        while len(turns) < length:
            if self.rng.random() < _SWITCH:
                told.language = "zh" if told.language == "en" else "en"
                family = None
            last = turns[-1] if turns else None
            made, family = self._step(
                told, family, last, len(turns), end=len(turns) >= length - 1, small=small
            )
            turns += made
        return turns

    def _step(
        self, told: Told, family: Family | None, last: Turn | None, at: int, *, end: bool, small: float
    ) -> tuple[list[Turn], Family | None]:
        """The next turn or turns, and the family that a follow-up would lean on."""
        known = [name for name in told.values if _is_sayable(name, told)]
        fresh = [name for name in self.slot_names if name not in told.values]
        if fresh and self.rng.random() < (_UNKNOWN_ONLY if small < 1 else _UNKNOWN):
            return [self._ask_unknown(fresh, told, last)], None
        if known and self.rng.random() < (0.6 if end else 0.2 + 0.3 * (1 - small)):
            return [self._ask_known(known, told, at, last)], None
        draw = self.rng.random()
        if fresh and not end and draw < (0.4 if at == 0 else 0.12) + 0.3 * (1 - small):
            return [self._tell(fresh, told, at)], None
        if known and draw > 1 - 0.08 - 0.15 * (1 - small):
            return [self.write.correct(self._slot(self.rng.choice(known), told), told, at)], None
        return self._small_step(told.language, family, last)

    def _far_turns(self, told: Told) -> list[Turn]:
        """Facts told at once, talk of other things, then questions for the facts."""
        turns = [self._tell(self.slot_names, told, 0)]
        if self.rng.random() < 0.3:
            turns.append(self.write.correct(self._slot(self.rng.choice(list(told.values)), told), told, 1))
        turns += self._small_turns(told.language, self.rng.randint(*_FAR_TURNS) - len(turns))
        for _ in range(self.rng.choice((1, 1, 2, 3))):
            fresh = [name for name in self.slot_names if name not in told.values]
            if self.rng.random() < 0.2:
                turns.append(self._ask_unknown(fresh, told, turns[-1]))
            else:
                turns.append(self._ask_known(list(told.values), told, len(turns), turns[-1]))
        return turns

    def _ask_unknown(self, fresh: Sequence[str], told: Told, last: Turn | None) -> Turn:
        weights = [_NAME_WEIGHT if name == "name" else 1.0 for name in fresh]
        slot = self._slot(self.rng.choices(fresh, weights)[0], told)
        return self.write.ask_unknown(slot, short=self._is_short(last, told))

    def _is_short(self, last: Turn | None, told: Told) -> bool:
        """Whether the next question may lean on the turn before."""
        if not last or last.kind not in _SHORT_AFTER or last.language != told.language:
            return False
        return self.rng.random() < (_SHORT if last.kind != "tell" else _SHORT / 4)

    def _ask_known(self, known: Sequence[str], told: Told, at: int, last: Turn | None) -> Turn:
        if len(known) > 1 and self.rng.random() < 0.12:
            return self.write.summary([self._slot(name, told) for name in known[:_SUMMARY_SLOTS]], told)
        weights = [_NAME_WEIGHT if name == "name" else 1.0 for name in known]
        slot = self._slot(self.rng.choices(known, weights)[0], told)
        return self.write.recall(slot, told, at, short=self._is_short(last, told))

    def _tell(self, fresh: Sequence[str], told: Told, at: int) -> Turn:
        first = "name" if "name" in fresh and self.rng.random() < 0.4 else self.rng.choice(fresh)
        if self.rng.random() < _COMPOUND:
            made = self.write.tell_compound({name: self._slot(name, told) for name in fresh}, told, at)
            if made:
                return made
        others = [name for name in fresh if name != first]
        if len(others) > 1 and self.rng.random() < 0.25:
            chosen = [first, *self.rng.sample(others, self.rng.choice((1, 1, 2)))]
            return self.write.tell_several([self._slot(name, told) for name in chosen], told, at)
        return self.write.tell(self._slot(first, told), told, at)

    def _small_turns(self, language: str, count: int) -> list[Turn]:
        turns: list[Turn] = []
        family: Family | None = None
        while len(turns) < count:
            made, family = self._small_step(language, family, turns[-1] if turns else None)
            turns += made
        return turns[:count]

    def _small_step(
        self, language: str, family: Family | None, last: Turn | None
    ) -> tuple[list[Turn], Family | None]:
        """What neither tells nor asks for a fact."""
        draw = self.rng.random()
        if family and last and family.language == language:
            leaning = self.leaning.get((family.name, language))
            if leaning and self.rng.random() < _LEANING:
                return [self.write.question(self.rng.choice(leaning))], None
            if draw < _FOLLOW_UP:
                again = family if self.rng.random() < _FOLLOWED_AGAIN else None
                return [self.write.follow_up(family, last, language)], again
            if draw < _FOLLOW_UP + _TRANSLATED and not family.fill:
                return [self.write.translated(family)], None
        if draw > 1 - _EXERCISES:
            return [self.write.exercise(language)], None
        if draw > 1 - _EXERCISES - _LESSONS:
            return self.tutor.lesson(language), None
        meant = bool(family) and self.rng.random() < _MEANT / (1 - _FOLLOW_UP)
        family = self.rng.choices(self.families[language], weights=self.weights[language])[0]
        return [self.write.question(family, meant=meant)], family

    def _language(self) -> str:
        return "en" if self.rng.random() < self.english else "zh"

    def _slot(self, name: str, told: Told) -> MemorySlot:
        return self.memory[name, told.language]


def _is_sayable(name: str, told: Told) -> bool:
    """Whether a told value can be said in the language spoken now."""
    return name in LANGUAGE_FREE or told.values[name][0].isascii() == (told.language == "en")


def _weights(families: Sequence[Family]) -> list[float]:
    """How often each family is asked for; those outside share a fixed part, however many they are."""
    inside = sum(_FAMILY_WEIGHTS.get(f.name, 1.0) for f in families if f.topic != _OUTSIDE)
    outside = sum(f.topic == _OUTSIDE for f in families)
    each = inside * _OUTSIDE_PART / (1 - _OUTSIDE_PART) / max(outside, 1)
    return [each if f.topic == _OUTSIDE else _FAMILY_WEIGHTS.get(f.name, 1.0) for f in families]
