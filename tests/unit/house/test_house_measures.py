"""The measures, on scripted answers whose worth is known."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from export.house.evaluate import (
    Probe,
    correction_probes,
    is_right,
    measure,
    recall_probes,
    several_probes,
    stranger_probes,
    typo_probes,
)
from export.house.measures import Rate, bleu, chrf, has_facts, is_in_language, rate, repeats_itself
from export.house.replies import Messages, Reply
from export.house.report import comparison, details, joined, markdown, plot_losses, read_losses, write_losses
from export.house.turns import Turn

NO_JOB = "I don't know your job yet."


class ScriptedAnswerer:
    """Answers every conversation with what it was given, in order."""

    def __init__(self, replies: Sequence[Reply]) -> None:
        self.replies = list(replies)

    def answer(self, conversations: Sequence[Messages]) -> list[Reply]:
        assert len(conversations) == len(self.replies)
        return self.replies


def probe(question: str, answer: str, *facts: str, kind: str = "product", language: str = "en") -> Probe:
    return Probe([{"role": "user", "content": question}], Turn(question, answer, kind, language, facts))


@pytest.mark.parametrize(
    ("text", "facts", "expected"),
    [
        ("Run `make chat` now.", ("make chat",), True),
        ("It COSTS nothing", ("free|nothing",), True),
        ("It costs nothing", ("nothing", "lambda"), False),
        ("3 + 4 = 17", ("= 1",), False),  # a number inside another number is not that number
        ("3 + 4 = 7.", ("= 7",), True),
        ("你叫张伟。", ("张伟",), True),
        ("", ("x",), False),
        ("anything", (), True),
    ],
)
def test_facts(text: str, facts: tuple[str, ...], expected: bool) -> None:
    """All facts must be there, one of each list of alternatives; numbers only as whole numbers."""
    assert has_facts(text, facts) is expected


@pytest.mark.parametrize(
    ("text", "fact", "expected"),
    [
        ("Your name is Nick.", "nick", True),
        ("The last one is nickname.", "nick", False),
        ("c-a-t-s", "c-a-t", False),
        ("c-a-t: 3 letters.", "c-a-t", True),
        ("你叫Marta，你住在苏州。", "marta", True),
        ("你住在苏州城。", "苏州", True),  # Chinese has no borders of words
        ("at 7:30", "at 7", True),
    ],
)
def test_what_is_said_again_is_said_whole(text: str, fact: str, expected: bool) -> None:
    """A told word is not found inside a longer one."""
    assert has_facts(text, (fact,), whole=True) is expected


@pytest.mark.parametrize(
    ("kind", "wanted", "fact", "text", "expected"),
    [
        ("a stranger", "", "dormouse", "I only know Dormouse. I don't know that.", False),
        ("a stranger", "", "don't know", "I don't know that.", True),
        ("product", "It costs nothing.", "nothing", "Nothing at all.", True),
        ("echo", "nick", "nick", "nickname", False),
        ("unknown", NO_JOB, "don't know", "You have not told me what your job is.", True),
        ("unknown", NO_JOB, "don't know", "I don't know your hobby yet.", False),
    ],
)
def test_what_counts_as_right(kind: str, wanted: str, fact: str, text: str, expected: bool) -> None:
    """No refusal that names a fact by chance, no part of a word, nothing about another thing."""
    assert is_right(Turn("?", wanted, kind, "en", (fact,)), text) is expected


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Hello", "en", True),
        ("你好", "en", False),
        ("你叫 Ada。", "zh", True),
        ("Hello", "zh", False),
        ("7", "zh", True),
    ],
)
def test_language(text: str, language: str, expected: bool) -> None:
    """Chinese answers have Chinese characters, English ones mostly letters; bare numbers fit both."""
    assert is_in_language(text, language) is expected


def test_repetition() -> None:
    """A run of four words three times is a repetition, twice is not."""
    assert repeats_itself("a b c d a b c d a b c d")
    assert not repeats_itself("a b c d a b c d")
    assert repeats_itself("好的好的好的好的好的好的")


def test_text_scores_know_best_and_worst() -> None:
    """BLEU and chrF are 100 for the reference itself and near 0 for another text."""
    said = ["the model runs on a plain processor today"]
    assert bleu(said, said, "en") == pytest.approx(100)
    assert bleu(["模型在普通处理器上运行"], ["模型在普通处理器上运行"], "zh") == pytest.approx(100)
    assert chrf(said, said) == pytest.approx(100)
    assert bleu(["zzz yyy"], said, "en") < 5


def test_measure_groups_and_shows_failures() -> None:
    """Right and wrong answers are counted by kind and language; the wrong ones are shown."""
    probes = [
        probe("q1", "make chat", "make chat"),
        probe("q2", "8080", "8080"),
        probe("q3", "四", "四", language="zh"),
    ]
    replies = [Reply("make chat", True), Reply("port 80", False), Reply("四", True)]
    measured = measure(ScriptedAnswerer(replies), probes)
    assert measured.rates["product, en"] == Rate(1, 2)
    assert measured.rates["product, zh"] == Rate(1, 1)
    assert measured.rates["stops by itself"] == Rate(2, 3)
    assert measured.failures == [("q2", "8080", "port 80")]


def test_recall_is_grouped_by_distance_and_language() -> None:
    """An answerer that always says the right name scores full marks at every distance; a mute one none."""
    probes = recall_probes("name", each=2, seed=1, rephrased=True)
    right = measure(ScriptedAnswerer([Reply(p.turn.reply, True) for p in probes]), probes)
    wrong = measure(ScriptedAnswerer([Reply("I forgot.", True) for _ in probes]), probes)
    groups = [name for name in right.rates if name.startswith("recall")]
    assert len(groups) == 14
    assert all(right.rates[name] == Rate(2, 2) for name in groups)
    assert all(wrong.rates[name] == Rate(0, 2) for name in groups)


def test_a_corrected_name_is_the_right_one() -> None:
    """The probe after a correction wants the second name and not the first."""
    for made in correction_probes(each=5, seed=1, rephrased=True):
        assert made.turn.facts[0] in made.messages[2]["content"].lower()
        assert made.messages[-1]["role"] == "user"


def test_refusals_have_a_precision() -> None:
    """A refusal outside the world is right, one inside is wrong; "I don't know your name" is neither."""
    probes = [
        probe("q1", "", "don't know", kind="outside"),
        probe("q2", "", "lambda"),
        probe("q3", "", "lambda"),
        probe("q4", "", "don't know", kind="unknown"),
    ]
    no = Reply("I don't know.", True)
    measured = measure(ScriptedAnswerer([no, no, Reply("Lambda.", True), no]), probes)
    assert measured.rates["outside, en"] == Rate(1, 1)
    assert measured.rates["refusals that are right (precision)"] == Rate(1, 2)
    assert measured.rates["no wrong refusal"] == Rate(1, 2)
    assert measured.rates["key facts of its world, en"] == Rate(1, 2)


def test_one_of_several_facts_is_asked_for() -> None:
    """The value asked for is one of the three told in the first sentence, at the distance said."""
    for made in several_probes(each=2, seed=1, rephrased=False):
        assert made.turn.facts[0] in made.messages[0]["content"].lower()
        assert made.turn.distance == len(made.messages) // 2


def test_typos_are_asked_in_both_languages() -> None:
    """So many questions for each language, each with a fact to look for."""
    probes = typo_probes(30, seed=1)
    assert [p.turn.language for p in probes] == ["en"] * 30 + ["zh"] * 30
    assert all(p.turn.facts and p.turn.kind == "typos" for p in probes)


def test_a_strangers_answer_needs_no_reference() -> None:
    """Questions written apart have facts to look for and no text to compare with."""
    probes = stranger_probes()
    measured = measure(ScriptedAnswerer([Reply("Lambda.", True) for _ in probes]), probes)
    assert measured.rates["a stranger, en"].right == 1
    assert measured.scores == {}


def test_forms_are_compared_side_by_side() -> None:
    """Each form has a column; the wrong answers shown are those of the first bundle, greedy."""
    one = measure(ScriptedAnswerer([Reply("w", True)]), [probe("q", "w", "w")])
    two = measure(ScriptedAnswerer([Reply("x", True)]), [probe("q", "w", "w")])
    results = {
        "bf16": {"All": one},
        "int4": {"All": two},
        "int8": {"All": one},
        "int4, T 0.7": {"All": one},
    }
    row = "| product, en | 100.0 % (1/1) | 0.0 % (0/1) | 100.0 % (1/1) | 100.0 % (1/1) |"
    assert row in comparison(results)
    assert "Wrong answers (int4, greedy)" in details(results)
    assert "wanted `w`, got `x`" in details(results)


def test_the_report_shows_numbers_and_failures() -> None:
    """The Markdown has a row for each measure and the wrong answers, harmless to the table."""
    measured = measure(ScriptedAnswerer([Reply("a|b `c`", True)]), [probe("q|1", "w", "w")])
    text = markdown("Title", measured)
    assert "| product, en | 0.0 % (0/1) |" in text
    assert "got `a/b 'c'`" in text


def test_no_cases_is_said() -> None:
    """A rate of nothing is not a percentage."""
    assert str(rate([])) == "no cases"


def test_curves_are_read_and_drawn(tmp_path: Path) -> None:
    """The losses of a run become a picture."""
    (tmp_path / "losses.csv").write_text("20,train,2.5\n40,train,1.5\n40,valid,1.7\n")
    curves = read_losses(tmp_path / "losses.csv")
    assert curves == {"train": [(20, 2.5), (40, 1.5)], "valid": [(40, 1.7)]}
    plot_losses(curves, tmp_path / "losses.png")
    assert (tmp_path / "losses.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_that_went_on_continues_the_curves(tmp_path: Path) -> None:
    """Its steps count from the end of the run before, and both are written as one."""
    curves = joined(
        {"train": [(20, 2.5)], "valid": [(40, 1.7)]}, {"train": [(20, 1.2)], "valid": [(30, 1.1)]}
    )
    assert curves == {"train": [(20, 2.5), (60, 1.2)], "valid": [(40, 1.7), (70, 1.1)]}
    write_losses(curves, tmp_path / "losses.csv")
    assert read_losses(tmp_path / "losses.csv") == curves
