"""Wordings, lessons and numerals: which wordings training sees, and answers that fit what was said before."""

import random
import re
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from export.house.dialogue import Composer
from export.house.grammar import expand, variety
from export.house.lessons import Tutor
from export.house.numerals import numeral
from export.house.phrasing import PLAIN_PATTERNS, Phrasings
from export.house.split import is_sentence_held_out, split_phrasings
from export.house.topics import LANGUAGES, load_families, load_frames

FAMILIES = load_families()


def drawn(name: str, language: str, count: int, *, rephrased: bool) -> set[str]:
    """So many questions of a family as the pattern has them, before anybody types them."""
    family = next(f for f in FAMILIES if (f.name, f.language) == (name, language))
    words = Phrasings(random.Random(1), FAMILIES, rephrased=rephrased)
    return {words.question(family, {slot: f"{{{slot}}}" for slot in family.fill}) for _ in range(count)}


@pytest.mark.parametrize(("name", "language", "plain"), [
    ("what_is_dormouse", "en", "what is dormouse"),
    ("what_is_dormouse", "zh", "dormouse是什么"),
    ("deploy", "en", "how do I deploy it"),
    ("cost", "en", "how much does it cost"),
    ("your_name", "zh", "你叫什么名字"),
])  # fmt: skip
def test_the_plainest_wording_is_trained(name: str, language: str, plain: str) -> None:
    """What everybody asks first is never held out."""
    assert plain in drawn(name, language, 4000, rephrased=False)


def test_a_family_has_hundreds_of_wordings() -> None:
    """Five hundred draws of a question give at least two hundred different ones, before any typing."""
    for name in ("deploy", "cost", "quantization", "sessions"):
        for language in LANGUAGES:
            assert len(drawn(name, language, 500, rephrased=False)) >= 200


def test_what_stands_alone_is_said_in_the_words_of_every_list() -> None:
    """What asks for more has the lists that a family has, and those that are not written are not missed."""
    words = Phrasings(random.Random(1), FAMILIES, rephrased=False)
    words.phrases = {"en": {"more": ("go on",), "more_everyday": ("and then",), "more_wide": ("say on",)}}
    assert {words.shared("more", "en") for _ in range(100)} == {"go on", "and then", "say on"}


def test_plain_patterns_stay_on_the_training_side() -> None:
    """The first patterns kept are for training whatever their hash, and something is still held out."""
    patterns = [f"pattern {i}" for i in range(12)]
    for key in ("a", "b", "c", "d", "e"):
        train, held_out = split_phrasings(key, patterns, keep=PLAIN_PATTERNS)
        assert train[:PLAIN_PATTERNS] == patterns[:PLAIN_PATTERNS]
        assert held_out


def test_unseen_wordings_are_unseen() -> None:
    """Nearly no unseen wording is drawn for training as well; the few that two patterns share go unscored."""
    for name in ("cold_start", "privacy"):
        for language in LANGUAGES:
            seen = drawn(name, language, 3000, rephrased=False)
            unseen = drawn(name, language, 300, rephrased=True)
            assert len(unseen & seen) < len(unseen) / 4
            assert len({s for s in unseen - seen if not is_sentence_held_out(s)}) > 0  # whole patterns too


def test_every_frame_has_one_place_for_its_subject() -> None:
    """A frame without {s} would ask for nothing, one with two might contradict itself in case."""
    for language in LANGUAGES:
        for kind, frames in load_frames()[language].items():
            wrong = [frame for frame in frames if not _has_one_subject(frame)]
            assert wrong == [], (language, kind)


def _has_one_subject(frame: str) -> bool:
    made = [expand(frame, random.Random(i), {"it": ("it",)}, {"s": "@"}) for i in range(20)]
    return all(sentence.count("@") == 1 for sentence in made)


def test_variety_counts_sentences() -> None:
    """The product of choices and shared phrases; a plain sentence counts once."""
    assert variety("(a|b|) {it} (c|d)", {"it": ("x", "y")}) == 12
    assert variety("plain", {}) == 1


def test_a_follow_up_belongs_to_the_question_before() -> None:
    """Every follow-up is answered from the family asked before it, or with that answer again."""
    answers = {(f.name, f.language): {*f.say, *f.more, *f.because} for f in FAMILIES}
    found = 0
    for seed in range(150):
        turns = Composer(random.Random(seed)).dialogue().turns
        for before, turn in pairwise(turns):
            if turn.kind == "follow-up" and before.kind != "follow-up":
                about = {name for (name, _), said in answers.items() if before.reply in said}
                allowed = {a for (name, _), said in answers.items() if name in about for a in said}
                assert turn.reply in allowed
                found += 1
    assert found > 30


def test_a_leaning_question_follows_what_it_leans_on() -> None:
    """What is asked about "it" comes right after an answer that it is written for, and never first."""
    said = {(answer, f.language): f.name for f in FAMILIES for answer in (*f.say, *f.more, *f.because)}
    leaning = {(f.topic, f.language, answer): f.after for f in FAMILIES if f.after for answer in f.say}
    found = 0
    for seed in range(600):
        turns = Composer(random.Random(seed)).dialogue().turns
        for before, turn in pairwise((None, *turns)):
            after = leaning.get((turn.kind, turn.language, turn.reply))
            if after:
                assert before
                assert said[before.reply, before.language] in after
                found += 1
    assert found > 30


def test_every_leaning_question_leans_on_a_family_that_is_asked() -> None:
    """A name that no family has, or one that leans itself, would never come."""
    asked = {f.name for f in FAMILIES if not f.after}
    assert {name for f in FAMILIES for name in f.after} <= asked


def test_the_tutor_judges_sums_rightly() -> None:
    """An answer in digits is called right exactly when it is the result."""
    judged = 0
    for seed in range(300):
        turns = Tutor(random.Random(seed), rephrased=False).lesson("en")
        for asked, said in zip(turns[::2], turns[1::2], strict=True):
            number = re.search(r"\d+", said.user)
            if "= ?" in asked.reply and number:
                result = re.search(r"= (\d+)\.", said.reply)
                assert result
                assert said.reply.startswith("Right!") == (number.group() == result.group(1))
                judged += 1
    assert judged > 50


@pytest.mark.parametrize(("number", "english", "chinese"), [
    (0, "zero", "零"), (7, "seven", "七"), (10, "ten", "十"), (11, "eleven", "十一"), (20, "twenty", "二十"),
])  # fmt: skip
def test_numerals(number: int, english: str, chinese: str) -> None:
    """Small numbers are written in words as people write them."""
    assert (numeral(number, "en"), numeral(number, "zh")) == (english, chinese)


def test_the_strangers_questions_are_in_both_languages() -> None:
    """As many in one as in the other, each with something that a right answer must say."""
    written = tomllib.loads(Path("export/house/stranger.toml").read_text(encoding="utf-8"))
    assert len(written["en"]) == len(written["zh"])
    assert all(len(entry) >= 2 for language in LANGUAGES for entry in written[language])
