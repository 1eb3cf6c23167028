"""One bundle before the judge: which models are run on which text, in which order, and what comes of it.

Owns the order that keeps memory low: one model at a time, its logits kept, then the next. Does not know the
measures (`evaluate`) or the limits (`verify`).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.conversion import Converted
from export.evaluate import Fidelity, fidelity
from export.stages import Stages
from export.verify import (
    Check,
    all_logits,
    compare_chunks,
    compare_rounding,
    compare_tensors,
    compare_values,
    open_model,
    raise_failures,
)
from handler.engine.bundle import Manifest

TEXT_TOKENS = 96
CHUNKED_TOKENS = 24


@dataclass(frozen=True)
class Verdict:
    """What was measured; the bundle passed."""

    checks: tuple[Check, ...]
    fidelity: Fidelity
    exact: bool  # logits are bit-identical however a text is cut

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
    ids = text_ids[: min(TEXT_TOKENS, manifest.context_tokens - 2)]
    quantized = converted.quantization.bits < 32
    with stages.stage(
        "verify", f"{len(ids)} tokens, against transformers", total=4 if quantized else 3
    ) as done:
        model = open_model(folder, manifest)
        checks = [compare_tensors(model, manifest)]
        logits = all_logits(model, ids)
        chunks = compare_chunks(model, ids[:CHUNKED_TOKENS])
        del model
        done(1)
        unquantized = converted.unquantized(ids)
        done(1)
        if quantized:
            exact_logits = all_logits(open_model(folder, manifest, accuracy_level=0), ids)
            done(1)
            checks.append(compare_rounding(logits, exact_logits, manifest.dims.layers))
            if converted.stored is not None:
                detail = "accuracy level 0 against transformers on the stored weights"
                checks.append(compare_values("values", exact_logits, converted.stored(ids), detail))
        else:
            checks.append(compare_values("values", logits, unquantized, "against transformers in float32"))
        done(1)
        raise_failures(checks)
        measured = fidelity(unquantized, logits, ids)
    # With some kernels other cuts give other bits: such a bundle says so in its manifest, it is not refused.
    return Verdict((*checks, chunks), measured, exact=chunks.passed)
