"""A recipe in words: nothing that sets it apart from another is left out."""

from __future__ import annotations

import pytest

from export.wording import in_full, title
from handler.engine.bundle import Quantization

INT4 = Quantization("int4", 4, block=128, head_block=32, rounding="gptq", calibration="talk.txt")
MIXED = Quantization("mixed", 4, block=128, head_block=128, symmetric=False, widened=("a", "b"))


@pytest.mark.parametrize(
    ("quantization", "short", "long"),
    [
        (Quantization("fp32", 32), "fp32", "fp32"),
        (INT4, "int4, block 128", "int4, block 128, head block 32, rounded by GPTQ with talk.txt"),
        (
            MIXED,
            "mixed, 2 in int8, block 128, asymmetric",
            "mixed, 2 in int8, block 128, asymmetric, head block 128, rounded to the nearest",
        ),
    ],
)
def test_a_recipe_is_told_in_short_and_in_full(quantization: Quantization, short: str, long: str) -> None:
    """Both begin alike, and the long form adds the head and the rounding."""
    assert title(quantization) == short
    assert in_full(quantization) == long
