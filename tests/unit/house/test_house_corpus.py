"""The corpus: the same from the same seed, clean, without leaks between its parts."""

import dataclasses
import json
import random
from pathlib import Path

import pytest

from export.house.corpus import (
    LeakError,
    check_leaks,
    compose_parts,
    is_clean,
    is_scored,
    normalized,
    read_part,
    write_corpus,
)
from export.house.names import make_name
from export.house.split import is_held_out, split_phrasings
from export.house.turns import Dialogue, Turn
from export.house.vocabulary import english_words, make_blend

HELD_OUT_NAMES = Path("tests/data/house_heldout_names.json")


@pytest.fixture(scope="module")
def parts() -> dict[str, list[Dialogue]]:
    return compose_parts(600, seed=11)


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    """Two runs with one seed give one hash; another seed gives another."""
    first = write_corpus(tmp_path / "a", dialogues=60, seed=3)
    again = write_corpus(tmp_path / "b", dialogues=60, seed=3)
    other = write_corpus(tmp_path / "c", dialogues=60, seed=4)
    assert first["sha256"] == again["sha256"]
    assert first["sha256"]["train"] != other["sha256"]["train"]


def test_what_is_written_is_read_back(tmp_path: Path, parts: dict[str, list[Dialogue]]) -> None:
    """Reading a written part gives the very dialogues that were composed."""
    write_corpus(tmp_path, dialogues=600, seed=11)
    assert list(read_part(tmp_path, "train")) == parts["train"]


def test_no_dialogue_comes_twice(parts: dict[str, list[Dialogue]]) -> None:
    """All parts together hold no two dialogues with the same questions."""
    keys = [normalized(" / ".join(t.user for t in d.turns)) for made in parts.values() for d in made]
    assert len(keys) == len(set(keys))


def test_every_dialogue_is_clean(parts: dict[str, list[Dialogue]]) -> None:
    """No text is empty, has an open slot, a control character or a control token."""
    assert all(is_clean(dialogue) for made in parts.values() for dialogue in made)


def test_what_an_earlier_corpus_asked_is_not_held_out(
    tmp_path: Path, parts: dict[str, list[Dialogue]]
) -> None:
    """Weights that go on from another corpus are not scored by what that one has taught them."""
    asked = normalized(next(t.user for d in parts["held_out"] for t in d.turns if is_scored(t)))
    (tmp_path / "train.jsonl").write_text(
        json.dumps({"system": "", "turns": [dataclasses.asdict(Turn(asked, "", "", ""))]})
    )
    write_corpus(tmp_path / "again", dialogues=600, seed=11, before=[tmp_path])
    scored = {
        normalized(t.user) for d in read_part(tmp_path / "again", "held_out") for t in d.turns if is_scored(t)
    }
    assert scored
    assert asked not in scored


def test_practice_is_trained_on_and_not_scored(tmp_path: Path, parts: dict[str, list[Dialogue]]) -> None:
    """It stands at the end of the training part, is counted, and what it asks is not held out."""
    asked = next(t for d in parts["held_out"] for t in d.turns if is_scored(t))
    practised = [Dialogue((asked, asked)), Dialogue((asked,), opening=3)]
    record = write_corpus(tmp_path, dialogues=600, seed=11, practice=practised)
    scored = {normalized(t.user) for d in read_part(tmp_path, "held_out") for t in d.turns if is_scored(t)}
    assert (record["practice"], record["dialogues"]["train"]) == (2, 602)
    assert list(read_part(tmp_path, "train"))[-2:] == practised
    assert normalized(asked.user) not in scored


def test_parts_do_not_leak(parts: dict[str, list[Dialogue]]) -> None:
    """No scored held-out question was asked in training."""
    check_leaks(parts["train"], parts["held_out"])


def test_a_planted_leak_is_found(parts: dict[str, list[Dialogue]]) -> None:
    """A training question put into the held-out part, in other capitals, is refused by name."""
    planted = Turn("WHAT IS THIS?", "A bot.", "product", "en", ("bot",))
    asked = dataclasses.replace(planted, user="what is this")
    with pytest.raises(LeakError, match="WHAT IS THIS"):
        check_leaks([*parts["train"], Dialogue((asked,))], [Dialogue((planted,))])


def test_training_never_tells_a_held_out_value(parts: dict[str, list[Dialogue]]) -> None:
    """Every value asked back in training is on the training side of the split, in held-out on the other."""
    for part, held_out in (("train", False), ("held_out", True)):
        told = [t.facts[0] for d in parts[part] for t in d.turns if t.kind == "recall"]
        assert told
        assert all(is_held_out(value) == held_out for value in told)


def test_names_for_other_tests_are_held_out() -> None:
    """The names kept for other tests are ones that the generator never gives to training."""
    names = json.loads(HELD_OUT_NAMES.read_text(encoding="utf-8"))
    assert len(names["en"]) > 100
    assert len(names["zh"]) > 100
    assert all(is_held_out(name) for made in names.values() for name in made)


def test_names_vary() -> None:
    """A thousand names hold at least 850 different ones in each language, so that they cannot be learned."""
    rng = random.Random(5)
    for language in ("en", "zh"):
        assert len({make_name(rng, language) for _ in range(1000)}) >= 850


def test_blends_are_made_of_written_words_and_are_none_held_out() -> None:
    """Begun like one written word, ended like another; no held-out value comes out by chance."""
    rng = random.Random(4)
    made = [make_blend(rng).lower() for _ in range(500)]
    assert not any(map(is_held_out, made))
    starts = {word[:2] for word in english_words()}
    ends = {word[-1] for word in english_words()}
    assert all(value[:2] in starts and value[-1] in ends for value in made)
    assert len({*made} - {*english_words()}) > 400


def test_phrasings_fall_on_one_side() -> None:
    """A family gives some phrasings away, keeps the rest, and does so the same way each time."""
    patterns = [f"pattern {i}" for i in range(12)]
    train, held_out = split_phrasings("family", patterns)
    assert sorted(train + held_out) == sorted(patterns)
    assert held_out
    assert split_phrasings("family", list(reversed(patterns)))[1] == list(reversed(held_out))


def test_a_small_family_keeps_all_phrasings() -> None:
    """Three phrasings are too few to give one away."""
    assert split_phrasings("family", ["a", "b", "c"]) == (["a", "b", "c"], [])
