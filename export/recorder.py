"""transformers' cache as the judge needs it: it notes each layer's keys and values, behind a made-up past.

Owns the dialect of transformers' `Cache`. The past is the same for all layers and held once, so that the last
positions of a long context can be computed without computing, or holding, the others.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from export.conversion import Past


def recorder(past: Past | None) -> Any:
    """An empty one."""
    return _recorder_class()(past)


@cache
def _recorder_class() -> Any:
    from transformers import DynamicCache  # seconds to import: only exports pay for it

    class Recorder(DynamicCache):
        """`kept` holds each layer's keys and values of the texts, [B, K, T, D]."""

        def __init__(self, past: Past | None) -> None:
            super().__init__()
            self.kept: list[tuple[Any, Any]] = []
            self._past: list[Any] = []
            if past is not None:
                self._past = [torch.from_numpy(part)[None] for part in (past.keys, past.values)]

        def update(self, keys: Any, values: Any, _layer: int, _told: Any = None) -> tuple[Any, Any]:
            self.kept.append((keys.numpy(), values.numpy()))
            if not self._past:
                return keys, values
            before = (part.expand(len(keys), -1, -1, -1) for part in self._past)
            joined = [torch.cat(pair, dim=2) for pair in zip(before, (keys, values), strict=True)]
            return joined[0], joined[1]

        def get_seq_length(self, _layer: int = 0) -> int:
            return int(self._past[0].shape[2]) if self._past else 0

        def get_mask_sizes(self, positions: Any, _layer: int = 0) -> tuple[int, int]:
            return self.get_seq_length() + len(positions), 0

    return Recorder
