"""A model without weights: its logits are a function of the ids alone, and it checks how it is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray


class ScriptedCache:
    """Remembers the ids themselves in place of keys and values."""

    def __init__(self) -> None:
        self.ids: list[int] = []

    @property
    def length(self) -> int:
        return len(self.ids)

    def truncate(self, length: int) -> None:
        assert 0 <= length <= len(self.ids)
        del self.ids[length:]

    def reserve(self, total: int) -> None:
        pass


class ScriptedModel:
    """Gives `script(ids)` as the logits after `ids`; counts the rows it computes."""

    def __init__(
        self, script: Callable[[Sequence[int]], NDArray[np.float32]], context_tokens: int = 64
    ) -> None:
        self.context_tokens = context_tokens
        self.computed: list[int] = []  # ids in each call
        self._script = script

    def new_cache(self) -> ScriptedCache:
        return ScriptedCache()

    def forward(self, ids: Sequence[int], cache: ScriptedCache, rows: int = 1) -> NDArray[np.float32]:
        assert ids
        assert 0 <= rows <= len(ids)
        assert cache.length + len(ids) <= self.context_tokens
        self.computed.append(len(ids))
        logits = []
        for id_ in ids:
            cache.ids.append(id_)
            logits.append(self._script(tuple(cache.ids)))
        return np.array(logits, np.float32)[len(ids) - rows :]


def saying(answer: Sequence[int], prompt_tokens: int, vocabulary: int = 16) -> ScriptedModel:
    """A model that says `answer` after a prompt of `prompt_tokens` ids, and id 0 ever after."""

    def script(ids: Sequence[int]) -> NDArray[np.float32]:
        logits = np.zeros(vocabulary, np.float32)
        at = len(ids) - prompt_tokens
        logits[answer[at] if 0 <= at < len(answer) else 0] = 5
        return logits

    return ScriptedModel(script)


def noisy(vocabulary: int = 16, context_tokens: int = 64) -> ScriptedModel:
    """A model whose logits depend on every id before them, in a way that no guess can foresee."""

    def script(ids: Sequence[int]) -> NDArray[np.float32]:
        return np.random.default_rng(list(ids)).normal(0, 1.5, vocabulary).astype(np.float32)

    return ScriptedModel(script, context_tokens)


def looping(period: int = 4, vocabulary: int = 16, context_tokens: int = 64) -> ScriptedModel:
    """A model that mostly repeats what it said `period` ids ago, so that drafts are often right."""

    def script(ids: Sequence[int]) -> NDArray[np.float32]:
        logits = np.random.default_rng(list(ids[-3:])).normal(0, 1, vocabulary).astype(np.float32)
        if len(ids) >= period and len(ids) % 7:
            logits[ids[-period]] += 4
        return logits

    return ScriptedModel(script, context_tokens)
