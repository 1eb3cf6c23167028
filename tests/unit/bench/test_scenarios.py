"""What scenarios ask for, and the figures they make of replies with known times."""

import pytest

from bench.passages import FIRST_ID, scripted
from bench.scenarios import DECODED_TOKENS, ROUND, Way, prompt_ids

STEP_S, PREFILL_S = 0.01, 0.5
PLAIN, DRAFTING = Way(drafts=False, lookups=()), Way(drafts=True, lookups=(0,))


class SteadyWorker:
    """Takes half a second for a prompt and ten milliseconds for a token, on its own clock."""

    def __init__(self):
        self.asked = []

    def ask(self, op, *, timeout_s, **arguments):
        self.asked.append((op, arguments))
        first = 100.0 + PREFILL_S
        stamps = [first + STEP_S * at for at in range(arguments["tokens"])]
        return {"start_s": 100.0, "stamps_s": stamps, "accepted": 5}


def run(name, way=PLAIN):
    worker = SteadyWorker()
    scenario = next(scenario for scenario in ROUND if scenario.name == name)
    return scenario.run(worker, way, 3), worker.asked


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("short", {"decode_128": 1 / STEP_S}),
        ("prefill_512", {"prefill_512": 512 / PREFILL_S}),
        ("long", {"decode_1024": 1 / STEP_S, "first_turn_s": PREFILL_S}),
        ("second_turn", {"second_turn_s": PREFILL_S}),
        ("prefill_2048", {"prefill_2048": 2048 / PREFILL_S}),
    ],
)
def test_figures_of_known_times(name, wanted):
    """Decoding counts from the first token on, prefill up to it."""
    figures, _ = run(name)
    assert figures == pytest.approx(wanted)


def test_the_second_turn_continues_the_long_one():
    """It begins with the very ids of the first turn and its scripted answer, and keeps the sequence."""
    _, [(_, first)] = run("long")
    _, [(_, second)] = run("second_turn")
    assert second["ids"][: 1024 + DECODED_TOKENS] == first["ids"] + first["script"]
    assert len(second["ids"]) == 1024 + DECODED_TOKENS + 32
    assert second["keep"] is True
    assert "keep" not in first


def test_drafts_are_on_only_where_users_have_them():
    """A contender without speculation is never asked to speculate."""
    assert run("short", PLAIN)[1][0][1]["draft_tokens"] is None
    assert run("short", DRAFTING)[1][0][1]["draft_tokens"] == 0


def test_repeated_text_is_measured_with_and_without_drafts():
    """Three requests without drafts, three for each draft length; the accepted share is counted."""
    figures, asked = run("repeat", Way(drafts=False, lookups=(2, 10)))
    assert set(figures) == {
        "repeat_plain", "repeat_drafts_2", "accepted_drafts_2", "repeat_drafts_10", "accepted_drafts_10",
    }  # fmt: skip
    assert [arguments["draft_tokens"] for _, arguments in asked] == [None] * 3 + [2] * 3 + [10] * 3
    answered = sum(len(task.answer_ids) - 1 for task in scripted())
    assert figures["accepted_drafts_2"] == pytest.approx(15 / answered)
    assert figures["repeat_plain"] == pytest.approx(1 / STEP_S)


def test_prompts_are_the_same_for_all_and_new_in_each_round():
    """Contenders of one round compute the same ids; a prefix cache finds nothing from the round before."""
    assert prompt_ids("short 1", 128) == prompt_ids("short 1", 128)
    assert prompt_ids("short 1", 128)[0:4] != prompt_ids("short 2", 128)[0:4]


def test_plain_scenarios_have_nothing_to_copy():
    """No pair of ids of a scripted answer occurs in its prompt, so that lookup drafts find nothing."""
    _, [(_, asked)] = run("long")
    pairs = set(zip(asked["ids"], asked["ids"][1:], strict=False))
    assert not pairs & set(zip(asked["script"], asked["script"][1:], strict=False))


def test_scripted_answers_do_repeat_their_prompts():
    """Most neighbouring pieces of each answer are neighbours in its prompt, too: that is what is measured."""
    for task in scripted():
        prompt = set(zip(task.prompt_ids, task.prompt_ids[1:], strict=False))
        answer = list(zip(task.answer_ids, task.answer_ids[1:], strict=False))
        assert sum(pair in prompt for pair in answer) > 0.5 * len(answer)
        assert min(task.prompt_ids + task.answer_ids) >= FIRST_ID
