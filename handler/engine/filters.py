"""Which ids may be drawn: top-k, top-p, min-p and typical, as pure functions from scores to kept positions.

Each equals the processor of the same name in transformers, yet never sorts a whole vocabulary: a bound that
provably holds picks a shortlist, and of a long one only the part is sorted in which the limit is passed.
Knows nothing of ids, history or randomness. Scores are logits divided by the temperature; -inf is allowed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating[Any]]  # [n]
Kept = NDArray[np.int64]  # [m], rising positions into the scores

COLUMN_HEIGHT = 64
SORTED_AT_ONCE = 256  # up to here, sorting all takes less than finding out what need not be sorted
BUCKET_BITS = 16  # of a float32: 128 buckets an octave


def top_k(scores: Scores, k: int) -> Kept:
    """Keep the k best scores, and whatever ties with the k-th.

    Source: Fan et al. 2018, https://arxiv.org/abs/1805.04833
    """
    if k >= len(scores):
        return np.arange(len(scores))
    near = _at_least(scores, k)
    cut = np.partition(scores[near], len(near) - k)[len(near) - k]
    kept: Kept = near[scores[near] >= cut]
    return kept


def top_p(scores: Scores, p: float) -> Kept:
    """Keep the smallest set of most likely entries whose probability exceeds `p`.

    Source: Holtzman et al. 2019, https://arxiv.org/abs/1904.09751
    """
    weights = np.asarray(scores - scores.max())
    np.exp(weights, out=weights)
    total = float(weights.sum(dtype=np.float64))
    # n entries of at most (1-p)/n weigh at most 1-p together: all of them go before the limit is met.
    # Not those of just that weight: an only entry has it, as float32 rounds.
    near = np.flatnonzero(weights >= total * (1 - p) / len(weights))
    near_weights = weights[near].astype(np.float64)
    tail, limit = total - float(near_weights.sum()), (1 - p) * total
    buckets, passed, below = _narrow(near_weights, near_weights, limit - tail)
    window = np.flatnonzero(buckets == passed)
    order = window[np.argsort(near_weights[window], kind="stable")]
    removed = tail + below + np.cumsum(near_weights[order]) <= limit
    removed[-1] = False
    is_kept = buckets >= passed
    is_kept[order[removed]] = False
    return near[np.flatnonzero(is_kept)]


def min_p(scores: Scores, p: float) -> Kept:
    """Keep entries at least `p` times as likely as the best one.

    Source: Nguyen et al. 2024, https://arxiv.org/abs/2407.01082
    """
    return np.flatnonzero(scores >= scores.max() + math.log(p))


def typical_p(scores: Scores, mass: float) -> Kept:
    """Keep the entries whose surprise is nearest to the entropy, until their probability reaches `mass`.

    Source: Meister et al. 2022, https://arxiv.org/abs/2202.00666
    """
    logs = np.maximum(scores - scores.max(), np.finfo(scores.dtype).min)  # finite, so that 0 * -inf is 0
    weights = np.exp(logs)
    total = float(weights.sum(dtype=np.float64))
    entropy = math.log(total) - float(np.sum(weights * logs, dtype=np.float64)) / total
    # Below exp(-2H) an entry is farther from H than any likelier one can be; entries of at most (1-mass)/n
    # weigh at most 1-mass together: those that are both are sorted last and never reached.
    near = np.flatnonzero(weights >= total * min((1 - mass) / len(weights), math.exp(-2 * entropy)))
    near_weights = weights[near].astype(np.float64)
    surprise = np.abs(math.log(total) - logs[near] - entropy)
    buckets, passed, below = _narrow(surprise, near_weights, mass * total)
    window = np.flatnonzero(buckets == passed)
    order = window[np.argsort(surprise[window], kind="stable")]
    reached = (below + np.cumsum(near_weights[order])) / total
    last = min(int(np.count_nonzero(reached < mass)), len(order) - 1)
    kept: Kept = near[np.flatnonzero(surprise <= surprise[order[last]])]
    return kept


def _at_least(scores: Scores, k: int) -> Kept:
    """Positions of a superset of the k best, as a rule not much larger.

    The scores are dealt to columns. The k-th best of the columns' best is no more than the k-th best of all,
    since k columns each hold one that reaches it.
    """
    columns = len(scores) // COLUMN_HEIGHT
    if columns < k:
        return np.arange(len(scores))
    best = scores[: columns * COLUMN_HEIGHT].reshape(COLUMN_HEIGHT, columns).max(axis=0)
    return np.flatnonzero(scores >= np.partition(best, columns - k)[columns - k])


def _narrow(keys: Scores, weights: Scores, limit: float) -> tuple[NDArray[np.int32], int, float]:
    """Sort keys, none negative, roughly, into buckets; find the one where cumulated weights reach `limit`.

    Returns each key's bucket, the bucket found, and the weight in those below it. The bits of a float that is
    not negative rise with it, and rounding never swaps two: what a bucket holds is below all of the next one.
    """
    if len(keys) <= SORTED_AT_ONCE:
        return np.zeros(len(keys), np.int32), 0, 0.0
    buckets = keys.astype(np.float32).view(np.int32) >> BUCKET_BITS
    buckets -= buckets.min()
    cumulated = np.cumsum(np.bincount(buckets, weights))
    passed = min(int(np.searchsorted(cumulated, limit)), len(cumulated) - 1)
    return buckets, passed, float(cumulated[passed - 1]) if passed else 0.0
