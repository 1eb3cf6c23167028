"""One bundle before the judge: which models are run on which text, in which order, and what comes of it.

Owns the order that keeps memory low: one model at a time, its logits kept, then the next. Does not know the
measures (`evaluate`, `exactness`) or the limits (`verify`).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.conversion import Converted
from export.evaluate import Fidelity, fidelity
from export.exactness import compare_threads, compare_ways
from export.stages import Stages
from export.verify import (
    Check,
    all_logits,
    compare_rounding,
    compare_tensors,
    compare_values,
    open_model,
    raise_failures,
)
from handler.engine import ort
from handler.engine.bundle import Manifest

Float32 = NDArray[np.float32]

TEXT_TOKENS = 96


@dataclass(frozen=True)
class Verdict:
    """What was measured; the bundle passed."""

    checks: tuple[Check, ...]
    fidelity: Fidelity
    exact: bool  # logits are bit-identical however a text is cut, whatever is cached or guessed

    def as_manifest(self) -> dict[str, Any]:
        """The manifest's `fidelity` field."""
        checks = {check.name: check.measured for check in self.checks}
        return {**dataclasses.asdict(self.fidelity), "checks": checks}


def judge(
    folder: Path, manifest: Manifest, converted: Converted, text_ids: list[int], stages: Stages
) -> Verdict:
    """Run every check on the bundle in `folder`.

    Raises: VerificationError listing every check that failed.
    """
    ids = judged_part(text_ids, manifest.context_tokens)
    with stages.stage("verify", f"{len(ids)} tokens, against transformers", total=4) as done:
        shapes, invariances, logits = _run_as_served(folder, manifest, ids)
        done(1)
        unquantized = converted.unquantized(ids)
        done(1)
        values = _compare_with_stored(folder, manifest, converted, ids, logits, unquantized)
        done(1)
        checks = [shapes, *values]
        raise_failures(checks)
        measured = fidelity(unquantized, logits, ids)
        done(1)
    # Some kernels give other bits for other cuts: such a bundle says so in its manifest, it is not refused.
    exact = all(check.passed for check in invariances)
    return Verdict((*checks, *invariances), measured, exact)


def judged_part(text_ids: list[int], context_tokens: int) -> list[int]:
    """As much of a text as is read: what the context holds, and not more than time allows."""
    return text_ids[: min(TEXT_TOKENS, context_tokens - 2)]


def _run_as_served(folder: Path, manifest: Manifest, ids: list[int]) -> tuple[Check, list[Check], Float32]:
    """The graph's shapes, what its bits depend on, and its logits [T, V]."""
    model = open_model(folder, manifest, threads=1)
    shapes = compare_tensors(model, manifest)
    logits = all_logits(model, ids)
    invariances = compare_ways(model, ids, logits)
    del model  # before the next: two at once would count twice in memory
    threads = max(2, ort.usable_cores())
    many = open_model(folder, manifest, threads=threads)
    return shapes, [*invariances, compare_threads(many, threads, ids, logits)], logits


def _compare_with_stored(
    folder: Path,
    manifest: Manifest,
    converted: Converted,
    ids: list[int],
    logits: Float32,
    unquantized: Float32,
) -> list[Check]:
    """The graph against transformers on the very weights that it holds."""
    if converted.stored is None:
        return [compare_values("values", logits, unquantized, "against transformers in float32")]
    exact = all_logits(open_model(folder, manifest, accuracy_level=0), ids)
    detail = "accuracy level 0 against the original graph on the stored weights"
    return [
        compare_rounding(logits, exact, manifest.dims.layers),
        compare_values("values", exact, converted.stored(ids), detail),
    ]
