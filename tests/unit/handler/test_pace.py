"""How fast prompts are read, as it is measured, learned and doubted."""

from __future__ import annotations

from handler.chat.pace import LEAST_TOKENS, Pace


def test_few_tokens_take_no_time() -> None:
    """However slow this machine is, a short prompt is never refused for the time that it takes."""
    pace = Pace(lambda: 0.001)
    assert pace.needed_s(LEAST_TOKENS - 1) == 0
    assert pace.needed_s(LEAST_TOKENS) == LEAST_TOKENS / 0.001


def test_faster_is_believed_at_once_and_slower_by_half() -> None:
    """One slow moment does not shut out long prompts, one fast prompt shows what can be done."""
    pace = Pace()
    assert pace.needed_s(1000) == 0
    for took_s, speed in ((1.0, 100), (2.0, 75), (0.5, 200)):
        pace.learn(100, took_s)
        assert pace.tokens_per_s == speed


def test_a_refusal_makes_the_next_less_likely() -> None:
    """What is refused teaches nothing, so each refusal raises the speed that is believed."""
    pace = Pace(lambda: 90.0)
    pace.doubt()
    assert pace.tokens_per_s == 100
