"""Drafts from the text itself: what followed the last time these ids were seen.

Owns the n-gram index over prompt and answer and the length of the next draft. Knows nothing of models or
samplers: a draft is only ever a guess, the generation loop checks it by drawing.
Source: prompt lookup decoding, https://github.com/apoorvumang/prompt-lookup-decoding
"""

from __future__ import annotations

from collections.abc import Sequence

LONGEST_NGRAM = 3
SHORTEST_NGRAM = 2
FIRST_DRAFT_TOKENS = 1  # one guess rides in the row that an even call has to compute anyway
LONGEST_DRAFT_TOKENS = 15


class PromptLookup:
    """Guesses the ids to come: `propose` takes the whole history, then `accepted` how many were right."""

    def __init__(self, longest_tokens: int = LONGEST_DRAFT_TOKENS) -> None:
        self._longest = longest_tokens
        self._length = min(FIRST_DRAFT_TOKENS, longest_tokens)
        self._proposed = 0
        self._indexed = 0  # ids whose n-grams are in the index
        self._ends: dict[tuple[int, ...], int] = {}  # n-gram -> index just after its latest occurrence

    def propose(self, history: Sequence[int], limit: int) -> list[int]:
        """Guess up to `limit` ids that may follow `history`, which only ever grows between calls."""
        self._index(history)
        end = len(history)
        self._proposed = 0
        for size in range(min(LONGEST_NGRAM, end - 1), SHORTEST_NGRAM - 1, -1):
            start = self._ends.get(tuple(history[end - size : end]))
            if start is not None:
                self._proposed = min(self._length, limit)
                return _copy(history, start, self._proposed)
        return []

    def accepted(self, count: int) -> None:
        """Learn how much of the latest draft was right: all of it lengthens the next, less shortens it."""
        if self._proposed == 0:
            return
        if count == self._proposed >= self._length:
            self._length = min(
                2 * self._length + 1, self._longest
            )  # 1, 3, 7, 15: even rows with the token itself
        elif count < self._proposed:
            self._length = max(FIRST_DRAFT_TOKENS, self._length // 2)

    def _index(self, history: Sequence[int]) -> None:
        """Take in n-grams that something follows; the very last one is what is looked up."""
        for end in range(max(self._indexed, SHORTEST_NGRAM), len(history)):
            for size in range(SHORTEST_NGRAM, min(LONGEST_NGRAM, end) + 1):
                self._ends[tuple(history[end - size : end])] = end
        self._indexed = len(history)


def _copy(history: Sequence[int], start: int, count: int) -> list[int]:
    """Copy `count` ids from `start` on; at the end of the history the copy goes on with itself."""
    period = len(history) - start
    source = history[start : start + count]
    return [source[at % period] for at in range(count)]
