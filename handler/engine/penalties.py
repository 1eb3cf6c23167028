"""What is done to logits before an id is chosen: biases, and penalties for what the text holds already.

Owns the count of a history's ids, kept from call to call because a history mostly grows by one, and which
part of it a penalty is about. Knows nothing of temperatures, filters or draws.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]  # [V]
History = Sequence[int] | NDArray[np.int64]  # prompt and answer so far
Processor = Callable[[Logits, History], Logits]  # leaves what it is given alone


class Tally:
    """How often each id occurs in a history; what was counted before is compared, and not counted again.

    A history that does not begin with the one before it is counted afresh, so what was asked earlier never
    shows in the result.
    """

    def __init__(self) -> None:
        self._restart()

    def count(self, history: History) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give the distinct ids and how often each occurs, in the order of their first occurrence."""
        ids = history if isinstance(history, list) else np.asarray(history, np.int64).tolist()
        if ids[: len(self._counted)] != self._counted:
            self._restart()
        fresh = ids[len(self._counted) :]
        for id_ in fresh:
            at = self._places.setdefault(id_, len(self._ids))
            if at == len(self._ids):
                self._ids.append(id_)
                self._counts.append(0)
            self._counts[at] += 1
        self._counted += fresh
        return np.array(self._ids, np.int64), np.array(self._counts, np.int64)

    def _restart(self) -> None:
        self._counted: list[int] = []
        self._places: dict[int, int] = {}  # id -> place in both arrays
        self._ids, self._counts = array("q"), array("q")


def make_repetition_penalty(penalty: float) -> Processor:
    """Make the ids of prompt and answer less likely (more, where it is below 1).

    Source: Keskar et al. 2019, https://arxiv.org/abs/1909.05858
    """
    tally = Tally()

    def penalize(logits: Logits, history: History) -> Logits:
        ids, _ = tally.count(history)
        out = logits.copy()
        seen = out[ids]
        out[ids] = np.where(seen < 0, seen * penalty, seen / penalty)
        return out

    return penalize


def make_answer_penalty(presence: float, frequency: float, answer_from: int = 0) -> Processor:
    """Make the ids of the answer, which begins at that index, less likely (more, where they are negative).

    Those of the prompt are not counted: it holds the end of every turn before, and an answer that is punished
    for it never ends.

    Source: https://platform.openai.com/docs/api-reference/chat/create
    """
    tally = Tally()

    def penalize(logits: Logits, history: History) -> Logits:
        ids, counts = tally.count(history[answer_from:])
        out = logits.copy()
        out[ids] = out[ids] - presence - frequency * counts
        return out

    return penalize


def make_bias(biases: Mapping[int, float]) -> Processor:
    """Add to the logits of some ids."""
    ids, values = np.array(list(biases), np.int64), np.array(list(biases.values()), np.float32)

    def bias(logits: Logits, history: History) -> Logits:
        del history
        out = logits.copy()
        out[ids] += values
        return out

    return bias
