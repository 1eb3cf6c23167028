"""Measures a model on held-out dialogues: perplexity, BLEU, chrF, key facts, recall, refusal, stopping.

Owns which probes are asked and how results are grouped. Knows neither training nor the shape of a model: it
asks an `Answerer`. Histories are the written ones; only the last answer is the model's.
"""

import random
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from export.house.corpus import is_scored, normalized, unseen_only
from export.house.dialogue import Composer
from export.house.measures import Rate, bleu, chrf, has_facts, is_in_language, rate, repeats_itself
from export.house.replies import Answerer, Messages, Reply
from export.house.topics import load_memory
from export.house.turns import Dialogue, Turn

RECALL_DISTANCES = (1, 2, 3, 4, 5, 7, 10)
_NEAR = 3  # turns up to which a told fact counts as near
_LANGUAGES = ("en", "zh")
_OF_ANY_LANGUAGE = ("echo", "ends", "letters", "recall", "corrected", "several")
_WORLD = ("product", "product_more", "chatbots", "practice", "smalltalk", "limits", "leaning")
_OUTSIDE = "outside"
_ANSWERED = (*_WORLD, "typos", "a stranger")
"""Kinds whose questions want an answer, unless one of their facts is a refusal."""
_COPIED = ("recall", "corrected", "several", "summary", "echo", "ends", "letters")
"""Kinds whose facts were said by the person: they must be said whole."""
_REFUSES = {"en": "don't know", "zh": "不知道"}
_MIN_BLEU_CASES = 5
_STRANGER = Path(__file__).parent / "stranger.toml"


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


def all_probes(
    held_out: Iterable[Dialogue], known: Iterable[Dialogue], asked: Set[str], *, count: int, seed: int
) -> dict[str, list[Probe]]:
    """Return title -> probes, as many as `count` says; nothing asked in training is among the unseen ones."""
    each = max(1, count // 20)

    def unseen(probes: list[Probe]) -> list[Probe]:
        return [probe for probe in probes if normalized(probe.turn.user) not in asked]

    told = [
        *recall_probes("any", each, seed, rephrased=False),
        *several_probes(each // 3 + 1, seed, rephrased=False),
        *correction_probes(2 * each, seed, rephrased=False),
    ]
    retold = [
        *recall_probes("any", each, seed, rephrased=True),
        *correction_probes(2 * each, seed, rephrased=True),
    ]
    return {
        "Known phrasings, new dialogues": question_probes(known, count),
        "Unseen phrasings": question_probes(unseen_only(held_out, asked), 2 * count),
        "Unseen phrasings with a slip": unseen(typo_probes(count // 2, seed)),
        "Unseen facts": told,
        "Unseen facts in unseen phrasings": unseen(retold),
        "A stranger's questions": unseen(stranger_probes()),
    }


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
    slots = composer.slot_names if slot == "any" else [slot]
    return [
        _last(composer.recall_dialogue(slots[i % len(slots)], language, distance))
        for language in _LANGUAGES
        for distance in RECALL_DISTANCES
        for i in range(each)
    ]


def several_probes(each: int, seed: int, *, rephrased: bool) -> list[Probe]:
    """Return probes that ask for one of three values told at once, `each` for every distance and language."""
    composer = Composer(random.Random(f"{seed}/several"), held_out=True, rephrased=rephrased, typo=0.0)
    return [
        _last(composer.several_dialogue(language, distance), kind="several")
        for language in _LANGUAGES
        for distance in RECALL_DISTANCES
        for _ in range(each)
    ]


def typo_probes(limit: int, seed: int) -> list[Probe]:
    """Return questions with a slip in them, so many for each language, in phrasings never trained on."""
    composer = Composer(random.Random(f"{seed}/typos"), held_out=True, typo=1.0)
    probes = []
    for language in _LANGUAGES:
        families = [f for f in composer.families[language] if f.topic in _WORLD]
        asked = [composer.write.question(families[i % len(families)]) for i in range(limit)]
        probes += [_last(Dialogue((replace(turn, kind="typos"),))) for turn in asked]
    return probes


def correction_probes(each: int, seed: int, *, rephrased: bool) -> list[Probe]:
    """Return probes that ask for a fact corrected after it was told: the name, and the others in turn."""
    composer = Composer(random.Random(f"{seed}/correct"), held_out=True, rephrased=rephrased, typo=0.0)
    slots = composer.slot_names
    return [
        _last(composer.correction_dialogue("name" if i % 2 else slots[i // 2 % len(slots)], language))
        for language in _LANGUAGES
        for i in range(each)
    ]


def stranger_probes() -> list[Probe]:
    """Return the questions of `stranger.toml`, written apart from the phrasings of training."""
    with _STRANGER.open("rb") as file:
        written = tomllib.load(file)
    turns = [
        Turn(question, "", "a stranger", language, tuple(facts))
        for language in _LANGUAGES
        for question, *facts in written[language]
    ]
    return [_last(Dialogue((turn,))) for turn in turns]


def measure(answerer: Answerer, probes: Sequence[Probe]) -> Measured:
    """Ask every probe and return the rates by kind and language, the text scores, and failures."""
    replies = answerer.answer([probe.messages for probe in probes])
    groups: dict[str, list[bool]] = defaultdict(list)
    measured = Measured()
    for probe, reply in zip(probes, replies, strict=True):
        right = is_right(probe.turn, reply.text)
        for group in _groups(probe.turn):
            groups[group].append(right)
        _note_refusal(probe.turn, reply, groups)
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
            if p.turn.language == language and p.turn.reply
        ]
        if len(pairs) >= _MIN_BLEU_CASES:
            answers, references = [a for a, _ in pairs], [b for _, b in pairs]
            measured.scores[f"BLEU {language}"] = bleu(answers, references, language)
            measured.scores[f"chrF {language}"] = chrf(answers, references)
    return measured


def is_right(turn: Turn, text: str) -> bool:
    """Tell whether a text answers the turn: with its facts, and not by a refusal that happens to name them.

    That something was never told is right in any of the words for this very thing.
    """
    if turn.kind == "unknown":
        return text.strip() in _not_told().get(turn.reply, (turn.reply,))
    refusal = _REFUSES[turn.language]
    if turn.kind in _ANSWERED and refusal in text.casefold() and refusal not in " ".join(turn.facts):
        return False
    return has_facts(text, turn.facts, whole=turn.kind in _COPIED)


@cache
def _not_told() -> dict[str, tuple[str, ...]]:
    """Each way to say that a thing was never told -> all ways to say it of that thing."""
    return {saying: slot.unknown for slot in load_memory() for saying in slot.unknown}


def _last(dialogue: Dialogue, *, kind: str | None = None) -> Probe:
    turn = dialogue.turns[-1]
    return Probe(_history(dialogue, len(dialogue.turns) - 1), replace(turn, kind=kind) if kind else turn)


def _history(dialogue: Dialogue, at: int) -> Messages:
    messages = dialogue.messages()
    return messages[: 2 * at + 1 + (1 if dialogue.system else 0)]


def _groups(turn: Turn) -> list[str]:
    """The lines of the table in which a turn counts: its own kind, and a summary over kinds."""
    if turn.kind in ("recall", "several"):
        near = f"1 to {_NEAR} turns" if turn.distance <= _NEAR else f"{_NEAR + 1} or more turns"
        told = "told fact" if turn.kind == "recall" else "one of three facts"
        own = [f"recall at {turn.distance:2d} turns, {turn.language}"] if turn.kind == "recall" else []
        return [*own, f"{told}, {near}, {turn.language}"]
    summary = [f"key facts of its world, {turn.language}"] if turn.kind in _WORLD else []
    return [f"{turn.kind}, {turn.language}", *summary]


def _note_refusal(turn: Turn, reply: Reply, groups: dict[str, list[bool]]) -> None:
    """Count a refusal as precise where the question was outside, and inside questions as answered or not."""
    refused = _REFUSES[turn.language] in reply.text.casefold()
    if turn.kind not in (*_WORLD, _OUTSIDE):
        return  # "I don't know your name yet" is no refusal
    if refused:
        groups["refusals that are right (precision)"].append(turn.kind == _OUTSIDE)
    if turn.kind in _WORLD:
        groups["no wrong refusal"].append(not refused)


def _language_is_right(turn: Turn, reply: Reply) -> bool:
    """Echoed words and told names are in the language of the person, whatever the conversation's."""
    return turn.kind in _OF_ANY_LANGUAGE or is_in_language(reply.text, turn.language)
