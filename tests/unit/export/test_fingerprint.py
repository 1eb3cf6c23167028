"""A rounded matrix whose bits were changed is another, and the changed block is named."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from export.graph.fingerprint import Fingerprint
from export.quantize import Packed, quantize_rows


def matrix(*, symmetric: bool = True) -> Packed:
    rows = np.random.default_rng(4).standard_normal((40, 96)).astype(np.float32)
    return quantize_rows(rows, 4, 32, symmetric=symmetric)


def rows_of(packed: Packed, part: slice) -> Packed:
    zeros = None if packed.zeros is None else packed.zeros[part]
    return Packed(packed.codes[part], packed.scales[part], zeros)


def test_the_cuts_of_a_matrix_do_not_matter() -> None:
    """It is written in some pieces and read in others."""
    whole = matrix()
    pieces = [rows_of(whole, part) for part in (slice(0, 7), slice(7, 31), slice(31, 40))]
    assert Fingerprint([whole]).changes(Fingerprint(pieces)) == (0, "")


@pytest.mark.parametrize("part", ["codes", "scales", "zeros"])
def test_one_bit_is_seen_wherever_it_is(part: str) -> None:
    """In every block of every row; the place is exact."""
    whole = matrix(symmetric=False)
    before = Fingerprint([whole])
    for row in range(40):
        for block in range(3):
            changed: Any = getattr(whole, part).copy()
            changed[row, block : block + 1].reshape(-1).view(np.uint8)[-1:] ^= 1
            found = Fingerprint([dataclasses.replace(whole, **{part: changed})])
            assert before.changes(found) == (1, f"row {row}, block {block}"), (row, block)


def test_what_only_changed_places_is_seen() -> None:
    """Two rows, one for the other, and two blocks of a row."""
    whole = matrix()
    before = Fingerprint([whole])
    rows = [1, 0, *range(2, 40)]
    assert before.changes(Fingerprint([Packed(whole.codes[rows], whole.scales[rows])]))[0] == 2
    turned = Packed(whole.codes[:, [1, 0, 2]], whole.scales[:, [1, 0, 2]])
    assert before.changes(Fingerprint([turned]))[0] == 40
