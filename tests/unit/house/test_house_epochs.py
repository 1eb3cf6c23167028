"""Epochs: the first from disk, later ones composed anew, alike on every machine and in every process."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from export.house.batches import Example
from export.house.corpus import questions, read_part, unseen_only, write_corpus
from export.house.epochs import Epochs
from export.house.fresh import Fresh, read_fresh, read_whole, write_fresh
from export.house.topics import load_families
from export.house.turns import Dialogue, Turn

FIRST = [Example((0,), (True,))]
FAMILIES = [family for family in load_families() if not family.after]
FRESH = Fresh(
    epochs=3,
    seed=5,
    dialogues=20,
    questions=200,
    told=0.1,
    english=0.6,
    single=False,
    missed={(family.name, family.language): float(family.topic == "product") for family in FAMILIES},
)


def made(number: int) -> Sequence[Example]:
    return [Example((number,), (True,))]


def ids(epochs: Epochs, numbers: Sequence[int]) -> list[int]:
    return [epochs(number)[0].ids[0] for number in numbers]


@pytest.mark.parametrize("processes", [0, 2])
def test_epochs_come_in_their_order_and_then_again(processes: int) -> None:
    """The first is the one given; the others are made, ahead or when asked for; a run may begin anywhere."""
    with Epochs(FIRST, made, count=4, processes=processes) as epochs:
        assert ids(epochs, range(10)) == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    with Epochs(FIRST, made, count=4, processes=processes) as epochs:
        assert ids(epochs, [6, 7, 8]) == [2, 3, 0]


def test_one_epoch_is_read_again() -> None:
    """Without others, every epoch is the corpus."""
    with Epochs(FIRST, processes=2) as epochs:
        assert ids(epochs, range(3)) == [0, 0, 0]


def test_an_epoch_is_composed_anew_and_the_same_each_time() -> None:
    """It follows from seed and number; another has other questions; what is missed more comes more often."""
    dialogues = FRESH.compose(1)
    assert dialogues == FRESH.compose(1)
    asked = [questions(made) for made in (dialogues, FRESH.compose(2), replace(FRESH, seed=6).compose(1))]
    assert len(asked[0] & asked[1]) < len(asked[0]) / 3
    assert len(asked[0] & asked[2]) < len(asked[0]) / 3
    assert len(dialogues) == 20 + 200 + 20
    practised = dialogues[20:220]
    assert sum(d.turns[0].kind == "product" for d in practised) > len(practised) / 3


def test_what_a_later_epoch_asks_is_not_scored() -> None:
    """A held-out question that one of them asks is struck out, and a dialogue of which nothing is left."""
    turn = Turn("And what is THIS?", "A bot.", "product", "en", ("bot",))
    other = replace(turn, user="what is that")
    held_out = [Dialogue((turn,)), Dialogue((turn, other))]
    assert list(unseen_only(held_out, {"and what is this"})) == [Dialogue((replace(turn, facts=()), other))]
    assert list(unseen_only(held_out, set())) == held_out


def test_a_corpus_is_read_with_its_later_epochs(tmp_path: Path) -> None:
    """What is on disk first, then each epoch as it is composed."""
    write_corpus(tmp_path, dialogues=20, seed=FRESH.seed)
    on_disk = list(read_part(tmp_path, "train"))
    assert list(read_whole(tmp_path)) == on_disk
    write_fresh(tmp_path, FRESH)
    assert list(read_whole(tmp_path)) == [*on_disk, *FRESH.compose(1), *FRESH.compose(2)]


def test_what_epochs_are_made_of_is_kept_beside_the_corpus(tmp_path: Path) -> None:
    """It is read as written; a corpus that is read again in every epoch leaves none of an older one."""
    write_fresh(tmp_path, FRESH)
    assert read_fresh(tmp_path) == FRESH
    write_fresh(tmp_path, None)
    assert read_fresh(tmp_path) is None
