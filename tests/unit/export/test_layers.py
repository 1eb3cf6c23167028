"""What is said of the first difference between two models is what was seen."""

from __future__ import annotations

import numpy as np

from export.conversion import Computed
from export.layers import first_difference, layer_errors

LOGITS = np.zeros((6, 3), np.float32)
KEYS, VALUES = np.random.default_rng(8).standard_normal((2, 2, 6, 16), np.float32)  # [K, T, D] each


def said_of(keys: np.ndarray) -> str:
    return first_difference([Computed(LOGITS, ((keys, VALUES),))], [Computed(LOGITS, ((KEYS, VALUES),))])


def test_heads_are_in_another_order_only_where_they_are_the_same_heads() -> None:
    """Two heads that are each nearer to the other one are not yet swapped."""
    assert said_of(KEYS[::-1]).endswith("the keys of layer 0: 2 heads in another order")
    assert "order" not in said_of(np.float32(0.6) * KEYS[::-1] + np.float32(0.4) * KEYS)


def test_nothing_is_said_of_layers_that_were_not_kept() -> None:
    """Behind a made-up past one side tells no keys and values: that they agree is not known."""
    kept = Computed(LOGITS, ((KEYS, VALUES),))
    said = first_difference([Computed(LOGITS)], [kept])
    assert "only behind a long past: positions, rotation or window" in said
    assert "agree in every layer" not in said
    assert "agree in every layer" in first_difference([kept], [kept])


def test_a_layer_that_keeps_nothing_but_zeros_has_a_size_to_be_compared_with() -> None:
    """Zero where zero is wanted is no error; anything else is a large one, and a number."""
    zero, kept = (Computed(LOGITS, ((KEYS, values),)) for values in (np.zeros_like(VALUES), VALUES))
    (same,), (other,) = layer_errors([zero], [zero]), layer_errors([kept], [zero])
    assert (same.keys, same.values, same.worst) == (0.0, 0.0, 0.0)
    assert other.keys == 0.0
    assert 1e6 < other.values < np.inf
    assert first_difference([kept], [zero]).startswith("the first to differ are the values of layer 0")
