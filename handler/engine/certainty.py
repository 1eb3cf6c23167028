"""How sure the model was of each id of an answer: its log-probability, and the entropy where it was drawn.

Owns the reading of an answer behind any prompt. Nothing is drawn: an answer that was given stays as it is.
Knows nothing of text, turns or clocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handler.engine.generate import PREFILL_STEP_TOKENS, Model, ShouldStop
from handler.engine.sampling import log_normalizer
from handler.engine.warm import WarmSlot


@dataclass(frozen=True, slots=True)
class Certainty:
    """Of one id, by the model's own distribution, before temperature and filters."""

    id: int
    logprob: float
    entropy: float  # nats: 0 where nothing else could have come


def certainties(
    model: Model,
    slot: WarmSlot,
    prompt_ids: Sequence[int],
    answer_ids: Sequence[int],
    should_stop: ShouldStop,
) -> list[Certainty] | None:
    """Read `answer_ids` after `prompt_ids`; None when told to stop before the end.

    What `slot` holds of them is used, but for the answer's own rows, and it holds them afterwards.
    """
    ids = [*prompt_ids, *answer_ids]
    first = len(prompt_ids) - 1  # the row that the answer's first id was drawn from
    cache, found = slot.take(ids[:-1]), list[Certainty]()
    try:
        cache.truncate(min(cache.length, first))
        cache.reserve(len(ids))
        for at in range(cache.length, len(ids) - 1, PREFILL_STEP_TOKENS):
            if should_stop() is not None:
                return None
            step = ids[at : min(at + PREFILL_STEP_TOKENS, len(ids) - 1)]
            for row in model.forward(step, cache, rows=min(len(step), max(0, at + len(step) - first))):
                found.append(_certainty(answer_ids[len(found)], row))
    finally:
        slot.put(cache, ids)
    return found


def _certainty(id_: int, row: NDArray[np.float32]) -> Certainty:
    normalizer = log_normalizer(row)
    logprobs = row.astype(np.float64) - normalizer
    return Certainty(id_, float(row[id_]) - normalizer, float(-(np.exp(logprobs) * logprobs).sum()))
