"""Finds the words for a question: one of a family's own patterns, or a frame around one of its subjects.

Owns which wordings training sees. Two things are held out: whole patterns (never seen with this family),
and single sentences of patterns that are seen otherwise. The plainest patterns are always trained. Knows
nothing of answers, and fills no values in.
"""

import random
from collections.abc import Callable, Sequence
from itertools import accumulate

from export.house.grammar import expand, slots, variety
from export.house.split import is_sentence_held_out, split_phrasings
from export.house.topics import Family, MemorySlot, lists_of, load_compounds, load_frames, load_phrases

PLAIN_PATTERNS, PLAIN_FRAMES = 2, 4
_KIND_WEIGHTS = {
    "ask": 0.4,
    "everyday": 0.4,
    "spoken": 0.4,
    "typed": 0.4,
    "wide": 0.6,
    "noun": 0.2,
    "do": 0.2,
    "can": 0.12,
    "know": 0.16,
    "about": 0.12,
}
_PLAIN = 0.1  # part of the draws among the plainest alone: what most people ask first
_OTHER_WORDS = 0.45  # part of the sentences about a told fact in other words than the first written
_OWN_WORDS = 0.6  # part of the sentences about a told fact without a frame around them
_OTHER_LANGUAGE = 0.05  # part of the subjects named in the other language, as people do who mix
_MOST_TRIES = 40
_MOST_VARIETY = 64

Wording = tuple[str, bool]  # a pattern, and whether it is plain and thus always trained


class Phrasings:
    """Draws wordings; with `rephrased` only ones that training never sees, where there are any."""

    def __init__(self, rng: random.Random, families: Sequence[Family], *, rephrased: bool) -> None:
        self.rng, self.rephrased = rng, rephrased
        self.phrases, self.frames = load_phrases(), load_frames()
        self.subjects = {(family.name, family.language): family.subjects for family in families}
        self._weights: dict[tuple[str, bool], tuple[list[str], list[float]]] = {}

    def question(self, family: Family, kept: dict[str, str], *, meant: bool = False) -> str:
        """Return a question of the family, its slots open; with `meant`, one that corrects the one before."""
        key = f"{family.name}/{family.language}"

        def draw(unseen: bool) -> Wording:
            if meant and "about" in family.subjects:
                frame, plain = self._pick(
                    f"{key}/meant", self.frames[family.language]["meant"], PLAIN_FRAMES, unseen
                )
                return frame.replace("{s}", self.rng.choice(family.subjects["about"])), plain
            return self._any_question(family, key, unseen)

        return self._sentence(draw, family.language, kept)

    def memory(self, slot: MemorySlot, act: str, kept: dict[str, str]) -> str:
        """Return how somebody tells ("tell"), asks for ("recall") or mends ("fix") a fact, its slots open."""
        own, subjects = {
            "tell": (slot.tell, slot.tell),
            "recall": (slot.ask, slot.know or slot.ask),
            "fix": (slot.fix, slot.tell),
        }[act]
        key = f"memory/{slot.name}/{slot.language}/{act}"

        def draw(unseen: bool) -> Wording:
            if self.rng.random() < _OTHER_WORDS:
                name = self.rng.choice(list(slot.others[act]))
                return self._pick(f"{key}/{name}", slot.others[act][name], PLAIN_PATTERNS, unseen)
            if self.rng.random() < _OWN_WORDS:
                return self._pick(key, own, PLAIN_PATTERNS, unseen)
            frame, plain = self._pick(f"{key}/frame", self.frames[slot.language][act], PLAIN_FRAMES, unseen)
            subject, _ = self._pick(f"{key}/subject" if slot.know else key, subjects, PLAIN_PATTERNS, False)
            return frame.replace("{s}", subject), plain

        return self._sentence(draw, slot.language, kept)

    def short(self, slot: MemorySlot) -> str:
        """Return a question of a few words that leans on one before, such as "and my job?"."""
        key = f"memory/{slot.name}/{slot.language}/short"

        def draw(unseen: bool) -> Wording:
            frames = load_compounds()[slot.language]["short"]
            frame, plain = self._pick(key, frames, PLAIN_FRAMES, unseen)
            return frame.replace("{s}", self.rng.choice(slot.short)), plain

        return self._sentence(draw, slot.language, {})

    def compound(self, language: str, kept: dict[str, str]) -> str:
        """Return a sentence that tells several facts, its slots open; all of them are among those kept.

        Return "" where none is written for these facts alone.
        """
        written = load_compounds()[language]["tell"]
        fitting = [pattern for pattern in written if set(slots(pattern)) <= set(kept)]
        train, unseen = split_phrasings(f"compound/{language}", written, keep=PLAIN_PATTERNS)
        seen = [pattern for pattern in fitting if pattern in train]
        hidden = [pattern for pattern in fitting if pattern in unseen]
        if not seen:
            return ""

        def draw(from_unseen: bool) -> Wording:
            pattern = self.rng.choice(hidden if from_unseen and hidden else seen)
            return pattern, pattern in written[:PLAIN_PATTERNS]

        return self._sentence(draw, language, kept)

    def shared(self, name: str, language: str) -> str:
        """Return one of the phrases of the name that stand alone, such as "tell me more"."""
        lists = lists_of(name, self.phrases[language])

        def draw(unseen: bool) -> Wording:
            written = self.rng.choice(lists)
            return self._pick(
                f"phrase/{written}/{language}", self.phrases[language][written], PLAIN_PATTERNS, unseen
            )

        return self._sentence(draw, language, {})

    def filler(self, family: Family, slot: str, *, held_out: bool) -> str:
        """Return a filler of one of the family's slots."""
        train, unseen = split_phrasings(f"fill/{family.name}/{family.language}/{slot}", family.fill[slot])
        return self.rng.choice(unseen if held_out and unseen else train)

    def _any_question(self, family: Family, key: str, unseen: bool) -> Wording:
        language = family.language
        written = {"ask": family.ask, **family.others}
        kinds = [*written, *family.subjects]
        if language == "zh" and "know" not in kinds:
            kinds.append("know")  # any Chinese question can be asked indirectly as it stands
        kind = self.rng.choices(kinds, [_KIND_WEIGHTS[kind] for kind in kinds])[0]
        if kind in written:
            return self._pick(f"{key}/{kind}", written[kind], PLAIN_PATTERNS, unseen)
        frame, plain = self._pick(f"{key}/{kind}", self.frames[language][kind], PLAIN_FRAMES, unseen)
        return frame.replace("{s}", self._subject(family, kind, key)), plain

    def _subject(self, family: Family, kind: str, key: str) -> str:
        if kind not in family.subjects:
            return self._pick(f"{key}/ask", family.ask, PLAIN_PATTERNS, False)[0]
        other = self.subjects.get((family.name, "en" if family.language == "zh" else "zh"), {})
        if (
            kind in ("noun", "about")
            and kind in other
            and self.rng.random() < _OTHER_LANGUAGE
            and not family.fill
        ):
            return self.rng.choice(other[kind])
        return self.rng.choice(family.subjects[kind])

    def _sentence(self, draw: Callable[[bool], Wording], language: str, kept: dict[str, str]) -> str:
        """Draw until a sentence lies on the right side of the split, or give up and return the last one."""
        unseen_pattern = self.rephrased and self.rng.random() < 0.5
        sentence = ""
        for _ in range(_MOST_TRIES):
            pattern, plain = draw(unseen_pattern)
            sentence = expand(pattern, self.rng, self.phrases[language], kept)
            if unseen_pattern or (not plain and is_sentence_held_out(sentence)) == self.rephrased:
                break
        return sentence

    def _pick(self, key: str, patterns: Sequence[str], keep: int, unseen: bool) -> Wording:
        if not unseen and self.rng.random() < _PLAIN:
            return self.rng.choice(patterns[:keep]), True
        if (key, unseen) not in self._weights:
            train, held_out = split_phrasings(key, patterns, keep=keep)
            chosen = held_out if unseen and held_out else train
            language = "zh" if "/zh" in key else "en"
            weights = [min(variety(p, self.phrases[language]), _MOST_VARIETY) ** 0.5 for p in chosen]
            self._weights[key, unseen] = chosen, list(accumulate(weights))
        chosen, weights = self._weights[key, unseen]
        pattern = self.rng.choices(chosen, cum_weights=weights)[0]
        return pattern, pattern in patterns[:keep]
