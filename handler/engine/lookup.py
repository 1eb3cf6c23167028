"""Drafts from the text itself: what followed where these ids stood before.

Owns the index over prompt and answer, how often such guesses turned out right, and the length of the next
draft: the one that gives the most ids for what the call costs. Knows nothing of models or samplers: a draft
is only ever a guess, the generation loop checks it by drawing.
Source: prompt lookup decoding, https://github.com/apoorvumang/prompt-lookup-decoding
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from handler.engine.steps import USUAL, StepCosts

LONGEST_DRAFT_TOKENS = 15  # with the id itself an even number of rows, and 16 are the last cheap ones
CANDIDATES = 8  # the latest places where the last id stood
# How often the next id is guessed right when 1, 2, ... ids before it are the same (docs/LOG.md). What this
# text shows is added to it; the prior counts as much as so many guesses.
PRIOR = (0.15, 0.4, 0.6, 0.7, 0.8, 0.85, 0.9, 0.92)
PRIOR_GUESSES = 4
REMEMBERED_GUESSES = 64  # then the older ones count half
LONGEST_MATCH = len(PRIOR)


class PromptLookup:
    """Guesses the ids to come, and learns from the history itself how right it was."""

    def __init__(self, costs: StepCosts = USUAL, longest_tokens: int = LONGEST_DRAFT_TOKENS) -> None:
        self._costs = [costs.of(rows + rows % 2 if rows > 1 else 1) for rows in range(longest_tokens + 2)]
        self._right = [share * PRIOR_GUESSES for share in PRIOR]  # by length of the match, less one
        self._guesses = [float(PRIOR_GUESSES)] * LONGEST_MATCH
        self._places: defaultdict[int, list[int]] = defaultdict(list)  # id -> indices just behind it
        self._indexed = 1  # ids with an id behind them
        self._end = self._match = self._place = self._proposed = 0  # of the latest guess

    def propose(self, history: Sequence[int], limit: int) -> list[int]:
        """Guess up to `limit` ids that may follow `history`, which only ever grows between calls."""
        self._learn(history)
        self._index(history)
        self._end = len(history)
        self._match, self._place = self._longest_match(history)
        self._proposed = self._best_length(self._match, limit) if self._match else 0
        return _copy(history, self._place, self._proposed) if self._proposed else []

    def _learn(self, history: Sequence[int]) -> None:
        """Compare the latest guess with what came; one that was not worth a draft teaches by its first id."""
        known = len(history) - self._end
        for at in range(min(max(self._proposed, 1), known) if self._match else 0):
            is_right = history[self._place + at] == history[self._end + at]
            bucket = min(self._match + at, LONGEST_MATCH) - 1
            self._right[bucket] += is_right
            self._guesses[bucket] += 1
            if self._guesses[bucket] > REMEMBERED_GUESSES:
                self._right[bucket] /= 2
                self._guesses[bucket] /= 2
            if not is_right:
                return

    def _index(self, history: Sequence[int]) -> None:
        for at in range(self._indexed, len(history)):
            self._places[history[at - 1]].append(at)
        self._indexed = max(self._indexed, len(history))

    def _longest_match(self, history: Sequence[int]) -> tuple[int, int]:
        """How many ids before a place equal the history's last ones, and the latest place where most do."""
        best, start, end = 0, 0, len(history)
        for place in reversed(self._places.get(history[-1], [])[-CANDIDATES:]):
            match, longest = 1, min(place, LONGEST_MATCH)
            while match < longest and history[place - 1 - match] == history[end - 1 - match]:
                match += 1
            if match > best:
                best, start = match, place
        return best, start

    def _best_length(self, match: int, limit: int) -> int:
        """The draft whose call gives the most ids for its cost: one is drawn anyway, others were guessed."""
        share = ids = 1.0
        length, best = 0, 1 / self._costs[1]
        for count in range(1, min(limit, len(self._costs) - 2) + 1):
            bucket = min(match + count - 1, LONGEST_MATCH) - 1
            share *= self._right[bucket] / self._guesses[bucket]
            ids += share
            if ids / self._costs[count + 1] > best:
                length, best = count, ids / self._costs[count + 1]
        return length


def _copy(history: Sequence[int], start: int, count: int) -> list[int]:
    """Copy `count` ids from `start` on; at the end of the history the copy goes on with itself."""
    period = len(history) - start
    source = history[start : start + count]
    return [source[at % period] for at in range(count)]
