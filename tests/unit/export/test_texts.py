"""The windows in which texts are read: all of it, and each begun as the text is."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from export.texts import WINDOW_TOKENS, cut, given_samples

BOS, WORD = 1, 2


class Words:
    """A tokenizer with an id a word, and bos before the first."""

    chat_template = None

    def encode(self, text: str) -> list[int]:
        return [BOS, *(WORD for _ in text.split())]


@given(
    begins=st.sampled_from([[], [BOS], [BOS, BOS]]),
    rest=st.lists(st.integers(2, 9)),
    length=st.integers(3, 20),
)
def test_windows_hold_the_whole_text_and_begin_as_it_does(
    begins: list[int], rest: list[int], length: int
) -> None:
    """What the tokenizer puts before a text is before each of its windows, and nothing is read twice."""
    windows = cut([*begins, *rest], [*begins, 0], length)
    assert [id_ for window in windows for id_ in window[len(begins) :]] == rest
    assert all(window[: len(begins)] == begins for window in windows)
    assert all(len(begins) < len(window) <= length for window in windows)


def test_every_window_of_a_users_text_begins_with_bos(tmp_path: Path) -> None:
    """A model that was always trained behind it is not measured without."""
    file = tmp_path / "text"
    file.write_text("word " * 300, encoding="utf-8")
    samples = given_samples(file, Words(), 256, 512)
    assert [len(sample.ids) for sample in samples] == [WINDOW_TOKENS, WINDOW_TOKENS, 300 - 2 * 127 + 1]
    assert all(sample.ids[0] == BOS and BOS not in sample.ids[1:] for sample in samples)
