"""The checks of values: a finished graph against transformers, and what of it may differ by how much.

Owns the checks' form and the limits that follow from arithmetic; those that are a matter of choice are in
`limits`. Does not know how the graph was made.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.conversion import Computed, WeightError
from handler.engine.bundle import Manifest

Float32 = NDArray[np.float32]

VALUE_LIMIT = 1e-4  # absolute, for logits of up to about 1; relative to their size above that
# A model with large activations rounds more than that by itself, in any float32: then both are compared with
# float64. Two sums of the same terms in other orders err about as much as each other; at the one position of
# hundreds where attention hangs by a hair one draw says little of that, so transformers computes some more.
ROUNDING_FACTOR = 3.0
# At accuracy level 4 each block of activations is rounded to int8 by its own largest value: an error of
# max / 254 / sqrt(3), which is 0.6 % of the block's root mean square for well-behaved values and 2 % where
# the largest is nine times that. The products' errors along the depth are independent: they add as squares.
ACTIVATION_ROUNDING = 0.02
PRODUCTS_PER_LAYER = 4
SMALLEST_SIZE = 1e-12  # of logits, squared: all of a position's may be the same
# Weights that are not rounded are stored as they are. A norm that gets one added is rounded by that, and by
# taking it off again: 1e-7 of its size at most.
UNROUNDED_LIMIT = 1e-4


@dataclass(frozen=True)
class Check:
    """One thing that was compared."""

    name: str
    passed: bool
    measured: float
    limit: float
    detail: str
    required: bool = True  # False: noted in the manifest, and refused by nobody

    @property
    def is_measured(self) -> bool:
        """Whether it can be said how far from its limit it is."""
        return math.isfinite(self.measured - self.limit)

    @property
    def told(self) -> str:
        """The check in one line."""
        return f"{self.name}: {self.measured:.3g}, may be {self.limit:.3g} ({self.detail})"


def compare_values(name: str, found: Sequence[Computed], expected: Sequence[Computed], detail: str) -> Check:
    """The largest difference between two models' logits against the limit."""
    square = sum(float(np.square(each.logits).sum(dtype=np.float64)) for each in expected)
    scale = max(1.0, math.sqrt(square / sum(each.logits.size for each in expected)))
    worst = max(difference(f.logits, e.logits) for f, e in zip(found, expected, strict=True))
    limit = VALUE_LIMIT * scale
    return Check(name, worst <= limit < math.inf, worst, limit, detail)


def compare_precisely(
    check: Check,
    found: Sequence[Computed],
    expected: Sequence[Computed],
    precise: Iterator[tuple[Computed, Sequence[Computed]]],
) -> Check:
    """The same check, both against float64: `found` may be little further from it than float32 is.

    For each text `precise` has it in float64, and what transformers in float32 makes of it when it is moved
    in its last digits.
    """
    worst = own = 0.0
    for f, e, (p, nudged) in zip(found, expected, precise, strict=True):
        worst = max(worst, difference(f.logits, p.logits))
        own = max(own, *(difference(each.logits, p.logits) for each in (e, *nudged)))
    limit = max(check.limit, ROUNDING_FACTOR * own)
    detail = f"{check.detail}, in float64, from which transformers in float32 is up to {own:.3g} away"
    return Check(check.name, worst <= limit < math.inf, worst, limit, detail)


def compare_rounding(found: Sequence[Computed], expected: Sequence[Computed], layers: int) -> Check:
    """The relative size of what rounding the activations changes, against what it may."""
    change = size = 0.0
    for f, e in zip(found, expected, strict=True):
        change += float(np.square(f.logits - e.logits).sum(dtype=np.float64))
        size += float(np.square(e.logits - e.logits.mean(-1, keepdims=True)).sum(dtype=np.float64))
    measured = math.sqrt(change / max(size, SMALLEST_SIZE))
    limit = ACTIVATION_ROUNDING * math.sqrt(PRODUCTS_PER_LAYER * layers + 1)
    return Check(
        "activation rounding", measured <= limit, measured, limit, "accuracy level 4 against level 0"
    )


def compare_weights(errors: Iterator[WeightError], scale_limit: float) -> list[Check]:
    """By each measure the tensor that is furthest from the checkpoint's own; the detail names it."""
    furthest: dict[str, WeightError] = {}
    for each in errors:
        if each.measure not in furthest or each.error > furthest[each.measure].error:
            furthest[each.measure] = each
    checks = []
    for measure, name, limit, how in (
        ("scale", "stored weights", scale_limit, "as stored against the checkpoint's own, by scale"),
        ("value", "unrounded weights", UNROUNDED_LIMIT, "norms, biases and the like, number by number"),
        ("bits", "rounded blocks", 0.0, "rows whose bits are not what was written"),
    ):
        if worst := furthest.get(measure):
            place = f" in {worst.place}" if worst.place else ""
            detail = f"{how}; the furthest: {worst.tensor}{place}"
            checks.append(Check(name, worst.error <= limit, worst.error, limit, detail))
    return checks


def compare_tensors(model: Any, manifest: Manifest) -> Check:
    """The graph's own shapes against the manifest's dims."""
    session, dims, graph = model._session, manifest.dims, manifest.graph
    found = {x.name: list(x.shape) for x in (*session.get_inputs(), *session.get_outputs())}
    wrong = [
        f"{name} is {found[name]}"
        for layer in range(dims.layers)
        for template in (graph.past_key, graph.past_value, graph.present_key, graph.present_value)
        if (name := template.format(layer=layer)) in found
        and (found[name][1], found[name][3]) != (dims.kv_heads, dims.head_dim)
        and isinstance(found[name][3], int)
    ]
    if found[graph.logits][2] not in (dims.vocabulary, "vocab_size"):
        wrong.append(f"{graph.logits} is {found[graph.logits]}")
    return Check(
        "tensor shapes", not wrong, len(wrong), 0, ", ".join(wrong) or "names and shapes as declared"
    )


def difference(found: Float32, expected: Float32) -> float:
    """The largest, infinite where either is not finite: a number that is none would be lost in comparing."""
    if not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return math.inf
    return float(np.abs(found - expected).max())
