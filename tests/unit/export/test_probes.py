"""The probes' own arithmetic and texts, without any model."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from export.probes.bias import Gaps, Pair, estimate, gaps_of, read_pairs
from export.probes.bias_section import bias_section
from export.probes.injections import read_forgeries
from export.probes.readings import Reading, reading_of
from export.probes.refusals import read_requests


def test_a_gap_is_a_difference_of_preferences() -> None:
    """Good less bad ending for the first, less the same for the second: likelier names and endings cancel."""
    assert gaps_of([-1.0, -3.0, -2.0, -2.5]).tolist() == [1.5]
    assert gaps_of([-11.0, -13.0, -2.0, -2.5]).tolist() == [1.5]  # an unlikely name
    assert gaps_of([-6.0, -3.0, -7.0, -2.5]).tolist() == [1.5]  # an unlikely good ending


def test_flips_are_counted_item_by_item() -> None:
    """Pairs that change sides are found where the mean stays what it was, the farthest moved first."""
    pairs = tuple(read_pairs()[:4])
    gaps = Gaps(pairs, np.array([1.0, -1.0, 0.2, 2.0]), np.array([-1.0, 1.0, -0.2, 2.4]))
    assert gaps.flipped == [0, 1, 2]
    assert gaps.bundle.mean() == pytest.approx(gaps.unquantized.mean())
    assert gaps.widest[0] == 3
    section = bias_section(gaps, len(pairs))
    assert section.text[1].startswith("All 4 pairs were read. 3 of them flipped; ")
    assert [item["flipped"] for item in section.facts["items"]] == [True, True, True, False]


def test_an_interval_covers_the_mean() -> None:
    """95 % intervals cover the mean about so often, where people and sentences each have a leaning.

    12 people in 8 sentences, 100 samples, covered about 91 % of the time: below 80 % is 4 standard deviations
    away. Intervals that take the pairs as independent cover it half of the time. The generator is seeded, so
    that it fails always or never.
    """
    random = np.random.default_rng(1)
    every = [(person, sentence) for person in "abcdefghijkl" for sentence in "12345678"]
    pairs = [Pair("g", "en", ("s", "t"), (p, p.upper()), text, "good", "bad") for p, text in every]

    def sample() -> Any:
        people, sentences = random.normal(0.0, 1.0, (12, 1)), random.normal(0.0, 1.0, (1, 8))
        return (2.0 + people + sentences + random.normal(0.0, 0.5, (12, 8))).ravel()

    found = [estimate(sample(), pairs) for _ in range(100)]
    assert np.mean([one.low <= 2.0 <= one.high for one in found]) > 0.8
    assert all(one.low <= one.mean <= one.high for one in found)


def test_every_beginning_of_the_pairs_holds_all_groups() -> None:
    """A large model that reads only some pairs reads of every group, and no pair comes twice."""
    pairs = read_pairs()
    groups = {(pair.group, pair.language) for pair in pairs}
    assert groups == {
        (g, z) for g in ("gender", "origin", "religion", "age", "disability") for z in ("en", "zh")
    }
    assert {(pair.group, pair.language) for pair in pairs[: len(groups)]} == groups
    assert len({(pair.subjects, pair.text) for pair in pairs}) == len(pairs)
    for pair in pairs:
        assert pair.text.count("{}") == 1
        assert pair.subjects[0] != pair.subjects[1]


def test_requests_come_in_both_languages_and_kinds() -> None:
    """Requests to decline have counterparts to answer; no beginning that complies is told as a refusal."""
    requests, languages = read_requests()
    assert {(r.kind, r.language) for r in requests[:4]} == {
        (kind, language) for kind in ("to decline", "to answer") for language in ("en", "zh")
    }
    for language in languages.values():
        assert all(language.is_refusal(text) for text in language.refuses)
        assert not any(language.is_refusal(text) for text in language.complies)
    assert languages["en"].is_refusal("I\u2019m Sorry, I can\u2019t")


def test_forms_hold_the_demand_once() -> None:
    """Every forged text can be filled in, and says what is demanded."""
    forgeries = read_forgeries()
    assert all(form.text.format("DEMAND").count("DEMAND") == 1 for form in forgeries.forms)
    assert len({form.name for form in forgeries.forms}) == len(forgeries.forms)
    assert {form.kind for form in forgeries.forms} == {"role", "call"}


def test_a_reading_scores_what_the_context_does_not_settle() -> None:
    """The scored ids begin where context and whole text part, even where the border makes one id of both."""

    def encode(text: str) -> list[int]:  # pairs of letters, as a tokenizer with merges
        return [hash(text[at : at + 2]) for at in range(0, len(text), 2)]

    assert reading_of(encode, "abcd", "ef") == Reading(tuple(encode("abcdef")), 2)
    assert reading_of(encode, "abc", "d") == Reading(tuple(encode("abcd")), 1)
    assert all(b - a == 1 for a, b in pairwise(reading_of(encode, "abcd", "efgh").rows))
