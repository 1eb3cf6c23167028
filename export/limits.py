"""How far a bundle may be from its model, by recipe: what is refused as not worth serving.

Owns the numbers. They are wide: what a recipe costs is measured and shown, and a fault moves these by orders
of magnitude, or moves a check that allows nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from export.evaluate import Fidelity
from export.verify import Check


@dataclass(frozen=True)
class Limits:
    """Of one recipe."""

    kl_mean: float  # nats
    perplexity_ratio: float  # the bundle's over the unquantized model's
    weight_scale: float  # how far the scale of a rounded block of weights may be from 1
    top1_disagreement: float = 1.0  # share of positions; at four bits a flat distribution's top says nothing


FOUR_BITS = Limits(kl_mean=1.0, perplexity_ratio=1.5, weight_scale=0.4)
LIMITS = {
    "fp32": Limits(1e-6, 1.001, 0.0, 0.01),  # no block is rounded
    "int8": Limits(0.05, 1.1, 0.02, 0.2),
    "int4": FOUR_BITS,
    "mixed": FOUR_BITS,
}


def compare_fidelity(measured: Fidelity, limits: Limits) -> list[Check]:
    """The measures that have a limit."""
    compared = (
        ("KL divergence", measured.kl_mean, limits.kl_mean, "nats a token to the unquantized model, mean"),
        (
            "top-1 disagreement",
            1 - measured.top1_agreement,
            limits.top1_disagreement,
            "share of positions where another token is the likeliest",
        ),
        (
            "perplexity ratio",
            measured.perplexity / measured.perplexity_unquantized,
            limits.perplexity_ratio,
            "this bundle's over the unquantized model's",
        ),
    )
    return [Check(name, value <= limit, value, limit, detail) for name, value, limit, detail in compared]
