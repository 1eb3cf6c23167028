"""Forks, lineages and ids: the arithmetic of conversations, without a store."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.sessions import Conversation, Usage, is_id
from handler.sessions.values import Ancestor


@st.composite
def lineages(draw: st.DrawFn) -> Conversation:
    """A conversation that was forked from a fork of a fork, each at any point and grown by any length."""
    held = Conversation(id="conv_0", created_at_s=0, version=1, last_seq=draw(st.integers(0, 9)))
    for n in range(1, draw(st.integers(1, 6))):
        fork = held.fork(f"conv_{n}", at_seq=draw(st.integers(0, held.last_seq)), created_at_s=0)
        held = Conversation(
            **{**vars(fork), "version": 1, "last_seq": fork.last_seq + draw(st.integers(0, 5))}
        )
    return held


@given(lineages(), st.integers(0, 40))
def test_segments_cover_every_number_once(held: Conversation, upto_seq: int) -> None:
    """However a lineage was made, its stretches up to an item are disjoint, adjacent and complete."""
    end = min(held.last_seq, upto_seq)
    parts = held.segments(upto_seq)
    ends = [part.upto_seq for part in parts]
    assert ends == sorted(set(ends), reverse=True)
    assert all(upto > 0 for upto in ends)
    assert (ends[0] if ends else 0) == end
    assert len({part.conversation_id for part in parts}) == len(parts)
    numbers = [seq for part in reversed(parts) for seq in range(part.from_seq, part.upto_seq + 1)]
    assert numbers == list(range(1, end + 1))
    assert not parts or parts[0].conversation_id != held.id or parts[0].from_seq == held.first_seq


@given(lineages(), st.data())
def test_a_fork_inherits_the_history_it_was_made_at(held: Conversation, data: st.DataObject) -> None:
    """The stretches of a fresh fork are those of its origin up to the fork, from the same conversations."""
    at_seq = data.draw(st.integers(0, held.last_seq))
    fork = held.fork("conv_new", at_seq=at_seq, created_at_s=0)
    assert fork.segments(fork.last_seq) == held.segments(at_seq)
    assert (fork.version, fork.last_seq, fork.hidden) == (0, at_seq, True)


def test_a_fork_starts_at_an_item_that_exists() -> None:
    """Forking beyond the end is a mistake of the caller's."""
    held = Conversation(id="conv_a", created_at_s=0, version=3, last_seq=4)
    assert held.fork("conv_b", at_seq=4, created_at_s=0).lineage == (Ancestor("conv_a", 4),)
    with pytest.raises(ValueError, match="item 5 of 4"):
        held.fork("conv_b", at_seq=5, created_at_s=0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("conv_0aZ-9", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("", False),
        ("a#b", False),
        ("a\n", False),
        ("é", False),
    ],
)
def test_ids_are_plain_words(text: str, expected: bool) -> None:
    """What stands in keys is letters, digits, `_` and `-`, up to 128 of them."""
    assert is_id(text) is expected


def test_usage_adds_up() -> None:
    """Counters add field by field; a quota counts what went in and came out."""
    total = Usage(1, 2, 3, 4) + Usage(10, 20, 30, 40)
    assert total == Usage(11, 22, 33, 44)
    assert total.total_tokens == 44
