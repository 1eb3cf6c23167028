"""Practice for weights that go on: what counts as missed, and how often it comes."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from export.house import missed as module
from export.house.batches import IGNORED, encode_all, stack
from export.house.dialogue import Composer
from export.house.missed import OPENING, missed, more_practice, practice, practice_by_family
from export.house.model import load_checkpoint
from export.house.skills import EXERCISE_KINDS, make_exercise
from export.house.tokenizer import load_tokenizer
from export.house.turns import Dialogue, Turn

CHECKPOINT = Path("models/house/checkpoint")


@pytest.fixture(scope="module")
def pieces() -> PreTrainedTokenizerFast:
    return load_tokenizer(CHECKPOINT)


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    return load_checkpoint(CHECKPOINT)


def asked(user: str, reply: str, kind: str = "sum") -> Dialogue:
    return Dialogue((Turn(user, reply, kind, "en"),))


def fact(told: str, answered: str) -> Dialogue:
    """Two turns: a colour told, and asked for."""
    noted = f"Nice, I will remember that you like {told}."
    tell = Turn(f"my favourite colour is {told}", noted, "tell", "en")
    ask = Turn("what is my favourite colour?", f"Your favourite colour is {answered}.", "recall", "en")
    return Dialogue((tell, ask))


def test_a_wrong_answer_is_missed_and_a_right_one_is_not(
    model: LlamaForCausalLM, pieces: PreTrainedTokenizerFast
) -> None:
    """Beside others in a batch, of any length: only what the weights would not say."""
    right = [asked("what is 3 + 4?", "3 + 4 = 7."), asked("how much is 12 - 5", "12 - 5 = 7.")]
    wrong = [asked("what is 3 + 4?", "3 + 4 = 9."), asked("what is 3 + 4?", "Our example shop is closed.")]
    assert missed(model, pieces, [right[0], wrong[0], right[1], wrong[1]]) == wrong


def test_the_least_probable_token_decides(
    model: LlamaForCausalLM, pieces: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bar lies at that token's probability."""
    dialogue = asked("what is 3 + 4?", "Our example shop is open on Sundays.")
    ids, labels = stack(encode_all(pieces, [dialogue], max_tokens=100), [0], 0)
    with torch.no_grad():
        learned = labels[0] != IGNORED
        chances = torch.softmax(model(ids).logits[0, learned], -1)
        least = float(chances.gather(1, labels[0, learned, None]).min())
    for bar, expected in ((least / 4, []), (least * 4, [dialogue])):
        monkeypatch.setattr(module, "_UNSURE", bar)
        assert missed(model, pieces, [dialogue]) == expected


def test_what_is_missed_comes_again(
    model: LlamaForCausalLM, pieces: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every question comes once, a missed one five times, a matter of chance no more than once."""
    right = [asked(f"what is {n} + 4?", f"{n} + 4 = {n + 4}.") for n in range(2, 6)]
    wrong = [asked(f"what is {n} + 4?", f"{n} + 4 = {n}.") for n in range(6, 9)]
    chance = [asked("test me", "Question: is the sky closed on Sundays?", "tutoring")]
    told = [fact("red", "red"), fact("red", "blue")]
    questions, facts = iter([*right, *wrong, *chance]), iter(told)
    monkeypatch.setattr(Composer, "questions", lambda _: next(questions))
    monkeypatch.setattr(Composer, "told_facts", lambda _: next(facts))
    dialogues, count = practice(model, pieces, questions=8, seed=3)
    times = Counter(turn for dialogue in dialogues for turn in dialogue.turns)
    assert count == len(wrong) + 1
    assert [times[d.turns[0]] for d in (*right, *wrong, *chance)] == [1, 1, 1, 1, 5, 5, 5, 1]
    assert [dialogues.count(dialogue) for dialogue in told] == [1, 5]  # never joined to others


def test_what_is_known_need_not_all_come(
    model: LlamaForCausalLM, pieces: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all that was drawn the part kept comes once; what was missed comes as often as asked for."""
    drawn = [asked(f"what is {n} + 4?", f"{n} + 4 = {n + 4}.") for n in range(7)]
    drawn.append(asked("what is 7 + 4?", "7 + 4 = 7."))
    left = iter(drawn)
    monkeypatch.setattr(Composer, "questions", lambda _: next(left))
    monkeypatch.setattr(Composer, "told_facts", lambda _: fact("red", "red"))
    dialogues, count = practice(model, pieces, questions=8, seed=3, kept=0.5, times=2)
    times = Counter(turn for dialogue in dialogues for turn in dialogue.turns)
    assert count == 1
    assert [times[d.turns[0]] for d in drawn] == [1, 1, 1, 1, 0, 0, 0, 2]


def test_the_opening_of_an_answer_may_be_practised_alone(
    model: LlamaForCausalLM, pieces: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question missed there comes alone and cut, one that only ends wrong does not; the rest is whole."""
    whole = "Ja! " + "Our example shop is open on Sundays. " * 3
    drawn = [asked(f"what is {n} + 4?", f"{n} + 4 = {n + 4}.") for n in range(4)]
    drawn += [asked("what is 7 + 4?", whole, "chatbots")]
    drawn += [asked("what is 6 + 4?", "6 + 4 = 10. " + whole, "chatbots")]
    left = iter(drawn)
    monkeypatch.setattr(Composer, "questions", lambda _: next(left))
    monkeypatch.setattr(Composer, "told_facts", lambda _: fact("red", "blue"))
    dialogues, count = practice(model, pieces, questions=6, seed=3, times=2, openings=True, told=0.2)
    times = Counter(turn for dialogue in dialogues for turn in dialogue.turns)
    assert count == 2  # a question and a fact
    assert [times[d.turns[0]] for d in drawn] == [1, 1, 1, 1, 3, 1]
    cut = [dialogue for dialogue in dialogues if dialogue.opening]
    assert cut == [replace(drawn[4], opening=OPENING)] * 2
    (example,) = encode_all(pieces, cut[:1], max_tokens=100)
    (uncut,) = encode_all(pieces, drawn[4:5], max_tokens=100)
    assert sum(example.learned) == OPENING
    assert example.ids == uncut.ids[: len(example.ids)]


def test_families_are_practised_as_often_as_they_are_missed(
    model: LlamaForCausalLM, pieces: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Questions of a missed family come more often than before, each once, cut after its answer's opening."""
    monkeypatch.setattr(module, "_TRIED", 1)
    monkeypatch.setattr(
        module, "missed", lambda _model, _pieces, all_of: [d for d in all_of if is_of(d, "product")]
    )
    dialogues, found = practice_by_family(model, pieces, questions=400, seed=3, told=0.1)
    composer = Composer(random.Random("3/questions"), typo=0.25)
    before = [composer.questions() for _ in range(400)]
    assert sum(is_of(d, "product") for d in dialogues) > 3 * sum(is_of(d, "product") for d in before)
    outside = [sum(is_of(d, "outside") for d in drawn) / 400 for drawn in (dialogues[:400], before)]
    assert outside[0] == pytest.approx(outside[1], abs=0.06)
    assert [d.opening for d in dialogues[400:]] == 40 * [0]
    assert set(found.values()) == {0.0, 1.0}
    again = more_practice(found, questions=400, seed="4", told=0.1)
    assert sum(is_of(d, "product") for d in again) > 3 * sum(is_of(d, "product") for d in before)
    assert not set(again) & set(dialogues[:400])
    computed = [d.turns[-1].kind in EXERCISE_KINDS for d in dialogues[:400]]
    assert [d.opening for d in dialogues[:400]] == [0 if its else OPENING for its in computed]
    assert any(computed)
    single, found = practice_by_family(model, pieces, questions=100, seed=3, told=0, single=True)
    single += more_practice(found, questions=100, seed="4", told=0, single=True)
    assert [len(d.turns) for d in single] == 200 * [1]
    assert any(len(d.turns) > 1 for d in dialogues[:400])


def test_what_is_computed_is_read_to_its_end() -> None:
    """Every kind of exercise is known as one."""
    rng = random.Random(1)
    made = [make_exercise(rng, language) for language in ("en", "zh") for _ in range(100)]
    assert {exercise.kind for exercise in made} == set(EXERCISE_KINDS)
    computed, said = asked("what is 12 + 15?", "12 + 15 = 27."), asked("hi", "Hello!", "smalltalk")
    assert module.opened(computed) == computed
    assert module.opened(said) == replace(said, opening=OPENING)


def is_of(dialogue: Dialogue, kind: str) -> bool:
    return dialogue.turns[0].kind == kind


def test_the_opening_of_an_answer_is_what_is_read_of_it(pieces: PreTrainedTokenizerFast) -> None:
    """The ids end there; all of them, where the answer is no longer; the answers before are whole."""
    whole = fact("red", "red")
    (uncut,) = encode_all(pieces, [whole], max_tokens=100)
    (cut,) = encode_all(pieces, [replace(whole, opening=3)], max_tokens=100)
    assert cut.ids == uncut.ids[: len(cut.ids)]
    last = len(pieces.encode(whole.turns[-1].reply, add_special_tokens=False)) + 1
    assert sum(uncut.learned) - sum(cut.learned) == last - 3
    (long,) = encode_all(pieces, [replace(whole, opening=99)], max_tokens=100)
    assert sum(long.learned) == sum(uncut.learned)
