"""Drafts from the text itself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from handler.engine.lookup import LONGEST_DRAFT_TOKENS, PromptLookup


def test_what_followed_last_time_is_proposed() -> None:
    """After `1 2 3` the draft is what came after the latest earlier `1 2 3`."""
    assert PromptLookup().propose([1, 2, 3, 4, 1, 2, 3, 5, 9, 1, 2, 3], limit=10) == [5]


def test_the_longer_match_wins() -> None:
    """Three equal ids say more than two, even when the two occurred later."""
    assert PromptLookup().propose([1, 2, 3, 4, 7, 2, 3, 8, 1, 2, 3], limit=10) == [4]


def test_nothing_is_proposed_for_text_never_seen() -> None:
    """No match, no draft; neither is the end of the text its own match."""
    assert PromptLookup().propose([1, 2, 3, 4, 5], limit=10) == []
    assert PromptLookup().propose([1], limit=10) == []


def test_drafts_grow_while_they_are_right_and_shrink_when_wrong() -> None:
    """1, 3, 7, 15 guesses make even numbers of rows together with the token itself."""
    lookup, history = PromptLookup(), [1, 2, 3, 4, 5, 6, 7, 8] * 8
    lengths = []
    for _ in range(6):
        draft = lookup.propose(history, limit=99)
        lengths.append(len(draft))
        lookup.accepted(len(draft))
    assert lengths == [1, 3, 7, 15, 15, 15]
    lookup.propose(history, limit=99)
    lookup.accepted(2)
    assert len(lookup.propose(history, limit=99)) == LONGEST_DRAFT_TOKENS // 2


@given(
    ids=st.lists(st.integers(0, 3), min_size=1, max_size=60),
    cuts=st.lists(st.integers(1, 60)),
    limit=st.integers(0, 20),
)
def test_a_growing_history_is_indexed_as_if_seen_at_once(ids: list[int], cuts: list[int], limit: int) -> None:
    """However the history grew, the same draft comes of it, and it really stands in the history."""
    lookup = PromptLookup()
    for cut in sorted(cut for cut in cuts if cut < len(ids)):
        lookup.propose(ids[:cut], limit)
    draft = lookup.propose(ids, limit)
    assert draft == PromptLookup().propose(ids, limit)
    assert len(draft) <= limit
    joined = ids + draft
    assert not draft or any(joined[at : at + len(draft)] == draft for at in range(len(ids)))
