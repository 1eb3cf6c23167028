"""Measures a model on held-out dialogues: perplexity, BLEU, chrF, key facts, recall, refusal, stopping.

Owns which probes are asked and how results are grouped. Knows neither training nor the shape of a model: it
asks an `Answerer`. Histories are the written ones; only the last answer is the model's.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from export.house.corpus import is_scored
from export.house.dialogue import Composer
from export.house.measures import Rate, bleu, chrf, has_facts, is_in_language, rate, repeats_itself
from export.house.replies import Answerer, Messages, Reply
from export.house.turns import Dialogue, Turn

RECALL_DISTANCES = (1, 2, 3, 4, 5, 7, 10)
_LANGUAGES = ("en", "zh")
_OF_ANY_LANGUAGE = ("echo", "ends", "recall", "corrected")
_MIN_BLEU_CASES = 5


@dataclass(frozen=True)
class Probe:
    """A conversation that waits for an answer, and the turn that holds the right one."""

    messages: Messages
    turn: Turn


@dataclass
class Measured:
    """Everything measured, by name; `failures` holds some wrong answers to show."""

    rates: dict[str, Rate] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    failures: list[tuple[str, str, str]] = field(default_factory=list)  # question, wanted, answered


def question_probes(dialogues: Iterable[Dialogue], limit: int) -> list[Probe]:
    """Return the first so many scored questions of the dialogues, each with the written history before it."""
    probes: list[Probe] = []
    for dialogue in dialogues:
        for i, turn in enumerate(dialogue.turns):
            if is_scored(turn) or turn.kind == "summary":
                probes.append(Probe(_history(dialogue, i), turn))
                if len(probes) == limit:
                    return probes
    return probes


def recall_probes(slot: str, each: int, seed: int, *, rephrased: bool) -> list[Probe]:
    """Return probes that ask for a told value never trained on, `each` for every distance and language.

    With `rephrased`, the fact is also told and asked for in phrasings never trained on.
    """
    composer = Composer(random.Random(f"{seed}/recall"), held_out=True, rephrased=rephrased, typo=0.0)
    probes = []
    for language in _LANGUAGES:
        for distance in RECALL_DISTANCES:
            for _ in range(each):
                dialogue = composer.recall_dialogue(slot, language, distance)
                probes.append(Probe(_history(dialogue, distance), dialogue.turns[-1]))
    return probes


def correction_probes(each: int, seed: int, *, rephrased: bool) -> list[Probe]:
    """Return probes that ask for a name corrected after it was told."""
    composer = Composer(random.Random(f"{seed}/correct"), held_out=True, rephrased=rephrased, typo=0.0)
    return [
        Probe(_history(dialogue, len(dialogue.turns) - 1), dialogue.turns[-1])
        for language in _LANGUAGES
        for dialogue in (composer.correction_dialogue("name", language) for _ in range(each))
    ]


def measure(answerer: Answerer, probes: Sequence[Probe]) -> Measured:
    """Ask every probe and return the rates by kind and language, the text scores, and failures."""
    replies = answerer.answer([probe.messages for probe in probes])
    groups: dict[str, list[bool]] = defaultdict(list)
    measured = Measured()
    for probe, reply in zip(probes, replies, strict=True):
        right = has_facts(reply.text, probe.turn.facts)
        groups[_group(probe.turn)].append(right)
        groups["stops by itself"].append(reply.stopped)
        groups["no repetition"].append(not repeats_itself(reply.text))
        groups["answers in the right language"].append(_language_is_right(probe.turn, reply))
        if not right:
            measured.failures.append((probe.turn.user, probe.turn.reply, reply.text))
    measured.rates = {name: rate(results) for name, results in sorted(groups.items())}
    for language in _LANGUAGES:
        pairs = [
            (r.text, p.turn.reply)
            for p, r in zip(probes, replies, strict=True)
            if p.turn.language == language
        ]
        if len(pairs) >= _MIN_BLEU_CASES:
            answers, references = [a for a, _ in pairs], [b for _, b in pairs]
            measured.scores[f"BLEU {language}"] = bleu(answers, references, language)
            measured.scores[f"chrF {language}"] = chrf(answers, references)
    return measured


def _history(dialogue: Dialogue, at: int) -> Messages:
    messages = dialogue.messages()
    return messages[: 2 * at + 1 + (1 if dialogue.system else 0)]


def _group(turn: Turn) -> str:
    if turn.kind == "recall":
        return f"recall at {turn.distance:2d} turns, {turn.language}"
    return f"{turn.kind}, {turn.language}"


def _language_is_right(turn: Turn, reply: Reply) -> bool:
    """Echoed words and told names are in the language of the person, whatever the conversation's."""
    return turn.kind in ("echo", "ends", "recall", "recall of a correction") or is_in_language(
        reply.text, turn.language
    )
