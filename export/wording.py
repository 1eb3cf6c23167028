"""A recipe in words: as short as tells it from others, and in full.

Knows the manifest's quantization, and nothing of where the words stand.
"""

from __future__ import annotations

from handler.engine.bundle import Quantization


def title(quantization: Quantization) -> str:
    """A recipe by what sets it apart."""
    block = f", block {quantization.block}" if quantization.block else ""
    asymmetric = "" if quantization.symmetric else ", asymmetric"
    if quantization.recipe != "mixed":
        return f"{quantization.recipe}{block}{asymmetric}"
    return f"mixed, {len(quantization.widened)} in int8{block}{asymmetric}"


def in_full(quantization: Quantization) -> str:
    """A recipe with all that was chosen."""
    if not quantization.block:
        return title(quantization)
    rounded = "by GPTQ" if quantization.rounding == "gptq" else "to the nearest"
    text = f" with {quantization.calibration}" if quantization.calibration else ""
    return f"{title(quantization)}, head block {quantization.head_block}, rounded {rounded}{text}"
