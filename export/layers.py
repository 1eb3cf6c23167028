"""How far two runs of a model are apart, layer by layer, by the keys and values that each layer keeps.

Owns the measure, and what the first difference looks like. Keys and values are what a graph shows of its
inside, whichever way it was made. Does not judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.conversion import Computed

Float32 = NDArray[np.float32]

DIFFERENT = 1e-3  # relative: float32 in another order stays far below
NOTHING = 1e-12  # what is kept may be zero throughout: its size, squared, then is taken to be this


@dataclass(frozen=True)
class LayerError:
    """One layer: the size of the difference over the size of what is kept."""

    keys: float
    values: float
    worst: float  # of the keys and values of one position
    worst_text: int
    worst_position: int


def layer_errors(found: Sequence[Computed], expected: Sequence[Computed]) -> list[LayerError]:
    """Of every layer that both tell; none where their heads have other shapes."""
    if other_shapes(found, expected):
        return []
    layers = min(len(each.kept) for each in (*found, *expected))
    return [_error(found, expected, layer) for layer in range(layers)]


def other_shapes(found: Sequence[Computed], expected: Sequence[Computed]) -> str:
    """What is unlike in the heads of the first layer that has other ones; nothing where all are alike."""
    for layer, pair in enumerate(zip(found[0].kept, expected[0].kept, strict=False)):
        ours, theirs = ((len(keys), keys.shape[-1]) for keys, _ in pair)
        if ours != theirs:
            named = (f"{heads} heads of {width}" for heads, width in (ours, theirs))
            return "layer {} keeps {}, transformers {}".format(layer, *named)
    return ""


def first_difference(found: Sequence[Computed], expected: Sequence[Computed]) -> str:
    """Where the two part, in words that claim no more than was seen."""
    if not (found[0].kept and expected[0].kept):  # behind a made-up past the layers' own are not told
        return (
            "if values without a past agree, it shows only behind a long past: positions, rotation or window"
        )
    if other := other_shapes(found, expected):
        return other
    errors = layer_errors(found, expected)
    at = next((i for i, e in enumerate(errors) if max(e.keys, e.values) > DIFFERENT), None)
    if at is None:
        return (
            "keys and values agree in every layer, so it is the last layer's rest, the final norm or the head"
        )
    named = [name for name in ("keys", "values") if getattr(errors[at], name) > DIFFERENT]
    parts = [int(name == "values") for name in reversed(named)]  # values first: no rotation blurs them
    patterns = [_pattern(found[0].kept[at][part], expected[0].kept[at][part]) for part in parts]
    pattern = next(filter(None, patterns), "")
    seen = f"the first to differ are the {' and '.join(named)} of layer {at}{pattern}"
    if at > 0 and len(named) == 2 and not pattern:
        return f"{seen}: layer {at - 1} after its own keys and values, or layer {at}'s norm"
    return seen


def _error(found: Sequence[Computed], expected: Sequence[Computed], layer: int) -> LayerError:
    relative = []
    for part in (0, 1):
        pairs = [(f.kept[layer][part], e.kept[layer][part]) for f, e in zip(found, expected, strict=True)]
        change = sum(float(np.square(f - e).sum(dtype=np.float64)) for f, e in pairs)
        size = sum(float(np.square(e).sum(dtype=np.float64)) for _, e in pairs)
        relative.append((change / max(size, NOTHING)) ** 0.5)
    worst, text, position = max(
        (float(rows[at]), index, at)
        for index, (f, e) in enumerate(zip(found, expected, strict=True))
        for rows in [_by_position(f.kept[layer], e.kept[layer])]
        for at in [int(rows.argmax())]
    )
    return LayerError(relative[0], relative[1], worst, text, position)


def _by_position(found: tuple[Float32, Float32], expected: tuple[Float32, Float32]) -> Float32:
    """The relative difference [T] of keys and values together."""
    change = sum(np.square(f - e).sum((0, 2)) for f, e in zip(found, expected, strict=True))
    size = sum(np.square(e).sum((0, 2)) for e in expected)
    return np.asarray(np.sqrt(change / np.maximum(size, NOTHING)))


def _pattern(found: Float32, expected: Float32) -> str:
    """What kind of difference [K, T, D] it is, where that can be told."""
    size = float(np.sqrt(np.square(expected).mean())) + 1e-12
    apart = np.abs(found - expected).max((0, 2)) / size > DIFFERENT  # [T]
    heads, places = len(expected), range(len(expected))
    nearest = [min(places, key=lambda k: float(np.abs(one - expected[k]).max())) for one in found]
    same = np.abs(found - expected[nearest]).max() / size < DIFFERENT  # not only nearer, as by chance
    if same and nearest != list(places) and sorted(nearest) == list(places):
        return f": {heads} heads in another order"
    moved = found - expected
    if np.abs(moved - moved[:, :1]).max() / size < DIFFERENT:
        return " by the same amount at every position: a bias"
    lengths, wanted = (np.linalg.norm(each, axis=-1) for each in (found, expected))
    if np.allclose(lengths, wanted, rtol=DIFFERENT):
        if apart[0]:
            return ", turned at every position, the first too: positions are counted otherwise"
        return ", turned from the second position on: the rotation has another base or scaling"
    return ""
