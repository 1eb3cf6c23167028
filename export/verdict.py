"""The verdict on a bundle: what was measured, what failed, and the reason to make it all the same.

Owns what may be accepted, and what the manifest records of it. Does not know how anything was measured.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from export.errors import VerificationError
from export.evaluate import Fidelity
from export.layers import LayerError
from export.verify import Check

ADVICE = '; --accept "why" makes the bundle all the same'


@dataclass(frozen=True)
class Agreement:
    """One greedy answer: its tokens, and how many of them come before the unquantized model's first other."""

    tokens: int
    agreed: int


@dataclass(frozen=True)
class Verdict:
    """What was measured, and what of it is not as it should be."""

    checks: tuple[Check, ...]
    fidelity: Fidelity
    exact: bool  # logits are bit-identical however a text is cut, whatever is cached or guessed
    by_kind: dict[str, Fidelity] = dataclasses.field(default_factory=dict)
    agreements: tuple[Agreement, ...] = ()
    layers: tuple[LayerError, ...] = ()
    kinds: tuple[str, ...] = ()  # of each text
    accepted: str | None = None  # why it is bundled though something failed

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed; those not required only where what they measured is no number."""
        return tuple(
            check for check in self.checks if not check.passed and (check.required or not check.is_measured)
        )

    def as_manifest(self) -> dict[str, Any]:
        """The manifest's `fidelity` field."""
        told: dict[str, Any] = {
            **dataclasses.asdict(self.fidelity),
            "checks": {check.name: check.measured for check in self.checks},
            "limits": {check.name: check.limit for check in self.checks},
        }
        if self.accepted is not None:
            failed = [check.name for check in self.failed]
            told["accepted"] = {"reason": self.accepted, "failed": failed}
        return told

    def settled(self, reason: str | None) -> Verdict:
        """The verdict that the bundle is made with; `reason` accepts what failed by some number.

        Raises: VerificationError listing every check that failed, without a reason or such a number.
        """
        acceptable = all(check.is_measured for check in self.failed)
        if self.failed and not (reason and acceptable):
            raise VerificationError([check.told for check in self.failed], ADVICE if acceptable else "")
        return dataclasses.replace(self, accepted=reason if self.failed else None)
