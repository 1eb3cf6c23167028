"""A grammar followed along one answer: which ids may come next, which must, and whether it is complete.

Owns the state between a grammar and the ids drawn so far. The state is a function of those ids alone: only
drawn ids advance it, never guesses, and an answer cut anywhere is taken up by another process with the same
masks. Knows llguidance's matcher by its methods; how one is made is the compiler's business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handler.engine.generate import Draft
from handler.engine.lookup import LONGEST_DRAFT_TOKENS
from handler.engine.penalties import History, Logits
from handler.engine.sampling import Sampler
from handler.engine.values import StopReason
from handler.errors import InvalidRequest

BARRED = np.float32(-np.inf)


class Constraint:
    """The state of one answer; the histories it is asked about only ever grow."""

    def __init__(
        self, matcher: Any, answer_from: int, vocabulary: int, on_limit: Callable[[], None] = lambda: None
    ) -> None:
        """`answer_from`: the index in the history at which the answer begins. `on_limit` is called when the
        matcher can go on no longer."""
        self._matcher, self._at, self._vocabulary = matcher, answer_from, vocabulary
        self._on_limit = on_limit
        self._mask: NDArray[np.bool_] | None = None  # of what has been followed so far

    def allowed(self, history: History) -> NDArray[np.bool_]:
        """Which ids may follow, [V]; an end-of-sequence id exactly when the grammar may end here.

        Raises: InvalidRequest where that has not been asked of `ends`, when the history does not follow the
        grammar, or no id can go on with it.
        """
        self._advance(history)
        if self._mask is None:
            self._mask = self._computed_mask()
            if self._matcher.is_error():  # it would allow the end, and nobody would know why
                raise InvalidRequest("The answer so far cannot be gone on with under its grammar.")
        return self._mask

    def ends(self, history: History) -> StopReason | None:
        """Tell why nothing can follow, if so: the answer is complete ("stop"), or the matcher is at a limit
        of its own or at a dead end ("length"), which is found out before another id is drawn.
        """
        self._advance(history)
        if self._matcher.is_stopped() and not self._matcher.is_error():
            return "stop"
        if self._mask is None:
            self._mask = self._computed_mask()
        return "length" if self._matcher.is_error() else None

    def forced(self, history: History) -> list[int]:
        """The ids that the grammar leaves no choice about, as far as their spelling is certain."""
        self._advance(history)
        return [] if self._matcher.is_stopped() else list(self._matcher.compute_ff_tokens())

    def followed(self, history: History, guess: Sequence[int]) -> int:
        """How many ids of a guess the grammar could go on with."""
        self._advance(history)
        return int(self._matcher.validate_tokens(list(guess)))

    def sampler(self, sampler: Sampler) -> Sampler:
        """Let a sampler see only what the grammar allows; its own steps come after that."""

        def sample(logits: Logits, history: History) -> int:
            return sampler(np.where(self.allowed(history), logits, BARRED), history)

        return sample

    def draft(self, draft: Draft) -> Draft:
        """Guess what the grammar forces, and else what another draft guesses."""
        return _ConstrainedDraft(self, draft)

    def _advance(self, history: History) -> None:
        fresh = [int(id_) for id_ in history[self._at :]]
        if fresh:
            self._at += len(fresh)
            self._matcher.consume_tokens(fresh)
            self._mask = None

    def _computed_mask(self) -> NDArray[np.bool_]:
        packed = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error():
            self._on_limit()
        return np.unpackbits(packed, count=self._vocabulary, bitorder="little").view(np.bool_)


class _ConstrainedDraft:
    """What the grammar forces, else another draft's guess for as long as the grammar could follow it."""

    def __init__(self, constraint: Constraint, draft: Draft) -> None:
        self._constraint, self._draft = constraint, draft

    def propose(self, history: Sequence[int], limit: int) -> list[int]:
        """Guess up to `limit` ids that may follow `history`, which only ever grows between calls."""
        guess = self._draft.propose(history, limit)  # asked in any case: it learns from what came
        forced = self._constraint.forced(history)
        if forced:
            return forced[: min(limit, LONGEST_DRAFT_TOKENS)]
        return guess[: self._constraint.followed(history, guess)] if guess else []
