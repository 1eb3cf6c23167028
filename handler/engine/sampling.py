"""Choosing the next id: penalties, filters and a draw that depends on (seed, position) alone.

Owns `SamplingParams` and the closure made from it. What the closure remembers saves work and decides nothing:
the same logits, history and seed give the same id in any process, so an answer can be resumed anywhere and a
guess be checked by drawing.
Knows nothing of models, text or time.
"""

from __future__ import annotations

import dataclasses
import math
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handler.engine import filters
from handler.engine.penalties import (
    History,
    Logits,
    Processor,
    make_answer_penalty,
    make_bias,
    make_repetition_penalty,
)
from handler.errors import InvalidRequest

Sampler = Callable[[Logits, History], int]

BLOCK = 512  # a cumulated sum over a whole vocabulary takes milliseconds, sums of blocks do not
DRAWN_AT_ONCE = 64
WORDS = 4  # in what Philox gives for one value of its counter
COLDEST = 1e-6  # below it logits would overflow; long before, the most likely id has all the weight
SEED_BITS = 53  # of a drawn one, which JavaScript can then send back as it was told; given ones have 64


@dataclass(frozen=True)
class SamplingParams:
    """How to choose among the logits; the defaults leave them as they are.

    Raises: InvalidRequest naming the field that is out of range.
    """

    temperature: float = 1.0  # 0: always the most likely id
    top_k: int = 0  # 0: off
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        for name, (allowed, holds) in _RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not holds(value):
                raise InvalidRequest(f"{name} must be {allowed}, not {value!r}.", param=name)
        for id_, bias in self.logit_bias.items():
            if id_ < 0 or not -100 <= bias <= 100:
                raise InvalidRequest(
                    "logit_bias must map token ids to numbers from -100 to 100.", param="logit_bias"
                )


_RANGES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "temperature": ("a number from 0 to 100", lambda x: 0 <= x <= 100),
    "top_k": ("a whole number, 0 or more", lambda x: isinstance(x, int) and x >= 0),
    "top_p": ("a number above 0, at most 1", lambda x: 0 < x <= 1),
    "min_p": ("a number from 0 to 1", lambda x: 0 <= x <= 1),
    "typical_p": ("a number above 0, at most 1", lambda x: 0 < x <= 1),
    "repetition_penalty": ("a number above 0, at most 100", lambda x: 0 < x <= 100),
    "presence_penalty": ("a number from -100 to 100", lambda x: -100 <= x <= 100),
    "frequency_penalty": ("a number from -100 to 100", lambda x: -100 <= x <= 100),
    "seed": ("a whole number", lambda x: isinstance(x, int)),
}


def new_seed() -> int:
    """Draw a seed from the operating system: two environments restored from one snapshot must differ."""
    return secrets.randbits(SEED_BITS)


def sampling_params(defaults: Mapping[str, float], **given: Any) -> SamplingParams:
    """Merge a bundle's generation defaults with what the caller gave; a None was not given.

    Raises: InvalidRequest for an unknown name or a value out of range.
    """
    known = {f.name for f in dataclasses.fields(SamplingParams)}
    for name in given:
        if name not in known:
            raise InvalidRequest(
                f"{name} is not a sampling parameter; known are {', '.join(sorted(known))}.", param=name
            )
    merged: dict[str, Any] = {name: value for name, value in defaults.items() if name in known}
    if "top_k" in merged:
        merged["top_k"] = int(merged["top_k"])
    merged.update((name, value) for name, value in given.items() if value is not None)
    if "seed" not in merged:
        merged["seed"] = new_seed()
    return SamplingParams(**merged)


def make_sampler(params: SamplingParams, answer_from: int = 0) -> Sampler:
    """Build the closure (logits [V], history) -> id; the order of its steps is that of transformers.

    `answer_from`: the index in the history at which the answer begins.
    """
    processors = _processors(params, answer_from)
    choose = _greedy if params.temperature == 0 else _drawer(params)
    if not processors:
        return choose

    def sample(logits: Logits, history: History) -> int:
        for process in processors:
            logits = process(logits, history)
        return choose(logits, history)

    return sample


def uniform(seed: int, position: int) -> float:
    """Draw a number in [0, 1) that depends on (seed, position) alone.

    Source: Philox, Salmon et al. 2011, https://doi.org/10.1145/2063384.2063405
    """
    block, at = divmod(position, DRAWN_AT_ONCE)
    return _numbers(seed % (1 << 64), block)[at]


def log_normalizer(logits: Logits) -> float:
    """Log of the sum of exponentials: a logit less this is a log-probability."""
    best = float(logits.max())
    weights = logits - np.float32(best)
    return best + math.log(float(np.exp(weights, out=weights).sum(dtype=np.float64)))


def most_likely(logits: Logits, count: int) -> list[int]:
    """Pick the `count` most likely ids, best first, ties by the lower id."""
    if count <= 0:
        return []
    kept = filters.top_k(logits, count)
    best_first: list[int] = kept[np.argsort(-logits[kept], kind="stable")[:count]].tolist()
    return best_first


@lru_cache(maxsize=4)
def _numbers(seed: int, block: int) -> list[float]:
    """The numbers of successive positions: making Philox takes far longer than what it then draws."""
    words = np.random.Philox(key=seed, counter=block * DRAWN_AT_ONCE).random_raw(WORDS * DRAWN_AT_ONCE)
    numbers: list[float] = ((words[::WORDS] >> np.uint64(11)) * 2.0**-53).tolist()
    return numbers


def _processors(params: SamplingParams, answer_from: int) -> list[Processor]:
    found: list[Processor] = []
    if params.logit_bias:
        found.append(make_bias(params.logit_bias))
    if params.repetition_penalty != 1:
        found.append(make_repetition_penalty(params.repetition_penalty))
    if params.presence_penalty or params.frequency_penalty:
        found.append(make_answer_penalty(params.presence_penalty, params.frequency_penalty, answer_from))
    return found


def _filters(params: SamplingParams) -> list[Callable[[filters.Scores], filters.Kept]]:
    chosen: list[Callable[[filters.Scores], filters.Kept]] = []
    if params.top_k > 0:
        chosen.append(partial(filters.top_k, k=params.top_k))
    if params.top_p < 1:
        chosen.append(partial(filters.top_p, p=params.top_p))
    if params.min_p > 0:
        chosen.append(partial(filters.min_p, p=params.min_p))
    if params.typical_p < 1:
        chosen.append(partial(filters.typical_p, mass=params.typical_p))
    return chosen


def _greedy(logits: Logits, history: History) -> int:
    del history
    return int(logits.argmax())


def _drawer(params: SamplingParams) -> Sampler:
    chosen = _filters(params)
    temperature, seed = np.float32(max(params.temperature, COLDEST)), params.seed

    def draw(logits: Logits, history: History) -> int:
        scores = logits if temperature == 1 else logits / temperature
        ids: filters.Kept | None = None
        for keep in chosen:
            kept = keep(scores)
            scores = scores[kept]
            ids = kept if ids is None else ids[kept]
        weights = scores - scores.max()
        at = _pick(np.exp(weights, out=weights), uniform(seed, len(history)))
        return at if ids is None else int(ids[at])

    return draw


def _pick(weights: Logits, share: float) -> int:
    """Find where the cumulated weights pass `share` of their sum: first the block, then the place in it."""
    sums = np.add.reduceat(weights, np.arange(0, len(weights), BLOCK)).astype(np.float64)
    block, rest = _pass(sums, share * float(sums.sum()))
    at, _ = _pass(weights[block * BLOCK : (block + 1) * BLOCK], rest)
    return block * BLOCK + at


def _pass(weights: NDArray[np.floating[Any]], target: float) -> tuple[int, float]:
    """Find the first place where the cumulated weight passes `target`, none of weight 0, and the rest."""
    places = np.flatnonzero(weights)
    cumulated = np.cumsum(weights[places].astype(np.float64))
    at = min(int(np.searchsorted(cumulated, target, side="right")), len(places) - 1)
    return int(places[at]), target - float(cumulated[at - 1] if at else 0)
