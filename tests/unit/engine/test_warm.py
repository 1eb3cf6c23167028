"""The warm slot."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from handler.engine.warm import WarmSlot, common_prefix
from tests.unit.engine.scripted_model import ScriptedCache, noisy


def held(ids: list[int]) -> ScriptedCache:
    cache = ScriptedCache()
    cache.ids = list(ids)
    return cache


def test_a_next_prompt_keeps_what_it_shares_and_forgets_the_rest() -> None:
    """The cache handed out holds the longest common prefix."""
    slot = WarmSlot(ScriptedCache)
    slot.put(held([1, 2, 3, 4]), [1, 2, 3, 4, 5])
    cache = slot.take([1, 2, 9, 4])
    assert isinstance(cache, ScriptedCache)
    assert cache.ids == [1, 2]


def test_two_at_once_never_share_a_cache() -> None:
    """Whoever comes while the cache is out gets an empty one of its own."""
    slot = WarmSlot(ScriptedCache)
    slot.put(held([1, 2]), [1, 2])
    first, second = slot.take([1, 2, 3]), slot.take([1, 2, 3])
    assert first is not second
    assert (first.length, second.length) == (2, 0)


def test_a_cache_that_holds_less_than_the_ids_is_believed_only_that_far() -> None:
    """The last id drawn is not computed: it is not in the cache and counts as new."""
    slot = WarmSlot(noisy().new_cache)
    slot.put(held([1, 2]), [1, 2, 3])
    assert slot.take([1, 2, 3, 4]).length == 2


def test_what_is_forgotten_is_in_no_cache() -> None:
    """The next prompt begins with an empty one, and what is put back then is held as ever."""
    slot = WarmSlot(ScriptedCache)
    slot.put(held([1, 2]), [1, 2])
    slot.forget()
    assert slot.tokens == 0
    cache = slot.take([1, 2])
    assert cache.length == 0
    slot.put(held([1]), [1])
    assert slot.take([1, 2]).length == 1


@given(st.lists(st.integers(0, 2)), st.lists(st.integers(0, 2)))
def test_a_common_prefix_is_common_and_longest(left: list[int], right: list[int]) -> None:
    """Equal up to the count, and different or at an end after it."""
    size = common_prefix(left, right)
    assert left[:size] == right[:size]
    assert size == min(len(left), len(right)) or left[size] != right[size]
