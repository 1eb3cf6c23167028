"""Drafts from the text itself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from handler.engine.lookup import LONGEST_DRAFT_TOKENS, PromptLookup
from handler.engine.steps import StepCosts

CHEAP = StepCosts((1, 2, 4, 8, 16), (1.0, 1.0, 1.1, 1.2, 1.3))
DEAR = StepCosts((1, 2, 4, 8, 16), (1.0, 2.0, 4.0, 8.0, 16.0))


def test_what_followed_last_time_is_proposed() -> None:
    """After `1 2 3` the draft is what came after the latest earlier `1 2 3`."""
    draft = PromptLookup(longest_tokens=1).propose([1, 2, 3, 4, 1, 2, 3, 5, 9, 1, 2, 3], limit=10)
    assert draft == [5]


def test_the_longer_match_wins() -> None:
    """Three equal ids say more than two, even when the two occurred later."""
    assert PromptLookup(longest_tokens=1).propose([1, 2, 3, 4, 7, 2, 3, 8, 1, 2, 3], limit=10) == [4]


def test_nothing_is_proposed_for_text_never_seen() -> None:
    """No match, no draft; neither is the end of the text its own match."""
    assert PromptLookup().propose([1, 2, 3, 4, 5], limit=10) == []
    assert PromptLookup().propose([1], limit=10) == []


def test_drafts_are_longer_where_rows_are_cheap() -> None:
    """The same text and the same doubt: what a row costs decides how far ahead to guess."""
    history = [1, 2, 3, 4, 5, 6, 7, 8] * 8
    assert len(PromptLookup(CHEAP).propose(history, limit=99)) == LONGEST_DRAFT_TOKENS
    assert PromptLookup(DEAR).propose(history, limit=99) == []


def test_a_draft_fills_the_row_that_is_computed_anyway() -> None:
    """Where two rows cost what one does, the weakest guess is worth the second."""
    free_pair = StepCosts((1, 2, 4), (1.0, 1.0, 9.0))
    assert PromptLookup(free_pair).propose([1, 2, 3, 1], limit=99) == [2]


def test_wrong_guesses_shorten_drafts_and_right_ones_lengthen_them() -> None:
    """What this very text shows outweighs the prior, and a bad time is not remembered for ever."""
    lookup, period = PromptLookup(), [1, 2, 3, 4, 5, 6, 7, 8]
    history = period * 8
    before = len(lookup.propose(history, limit=99))
    for other in range(100, 140):  # the same eight ids, and each time another one behind them
        history += [other, *period]
        lookup.propose(history, limit=99)
    worse = len(lookup.propose([*history, 99, *period], limit=99))
    history += [99, *period]
    for _ in range(200):
        history += period
        lookup.propose(history, limit=99)
    assert worse <= 1 < before <= len(lookup.propose(history + period, limit=99))


@given(
    ids=st.lists(st.integers(0, 3), min_size=1, max_size=60),
    cuts=st.lists(st.integers(1, 60)),
    limit=st.integers(0, 20),
)
def test_a_growing_history_is_indexed_as_if_seen_at_once(ids: list[int], cuts: list[int], limit: int) -> None:
    """However the history grew, the same place is found, what was learned decides how far to guess from it,
    and the draft really stands in the history."""
    lookup = PromptLookup()
    for cut in sorted(cut for cut in cuts if cut < len(ids)):
        lookup.propose(ids[:cut], limit)
    draft = lookup.propose(ids, limit)
    at_once = PromptLookup().propose(ids, limit)
    assert draft[: len(at_once)] == at_once[: len(draft)]
    assert len(draft) <= limit
    joined = ids + draft
    assert not draft or any(joined[at : at + len(draft)] == draft for at in range(len(ids)))
