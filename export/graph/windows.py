"""Sliding windows: which layers see all that came before, and which only the last positions.

Owns the reading of `layer_types` and `sliding_window`. Does not know how attention is computed.
"""

from __future__ import annotations

from collections.abc import Callable

from export.config import Config
from export.errors import ExportError, UnsupportedFeature

SLIDING, FULL = "sliding_attention", "full_attention"


def read_windows(
    config: Config, layers: int, is_sliding: Callable[[int], bool], default: int | None = None
) -> tuple[int | None, ...]:
    """Each layer's window in tokens, None where it sees everything.

    `is_sliding` is the family's rule where the config has no `layer_types`, `default` its window.

    Raises: UnsupportedFeature naming a type of layer that is neither; ExportError.
    """
    types = config.fields.get("layer_types")
    if types is None:
        types = [SLIDING if is_sliding(layer) else FULL for layer in range(layers)]
    if not isinstance(types, list) or len(types) != layers:
        raise ExportError(
            f"{config.path}: layer_types: must be a list with one entry for each of {layers} layers"
        )
    for kind in types:
        if kind not in (SLIDING, FULL):
            raise UnsupportedFeature(
                f"{config.path}: layer_types: {kind!r} is not supported, only {SLIDING} or {FULL}"
            )
    if SLIDING not in types:
        return (None,) * layers
    window = config.integer("sliding_window", default)
    return tuple(window if kind == SLIDING else None for kind in types)
