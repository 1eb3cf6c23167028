"""What the person at the keyboard wants to keep: a size or a divergence.

Owns how they are written. Does not know how they are reached.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from export.errors import ExportError

UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@dataclass(frozen=True)
class Target:
    """One of the two is set."""

    size_bytes: int | None = None  # of graph, weights and tokenizer
    kl: float | None = None  # mean over a text's tokens, in nats

    def __str__(self) -> str:
        """As it stands in a manifest."""
        return f"size {self.size_bytes} bytes" if self.kl is None else f"KL {self.kl:g} nats"

    @classmethod
    def parse(cls, size: str | None, kl: float | None) -> Target | None:
        """The target of `--target-size` and `--target-kl`; None where neither is given.

        Raises: ExportError when both are, or one cannot be read.
        """
        if size is not None and kl is not None:
            raise ExportError("--target-kl: given together with --target-size; the size leaves no choice")
        if kl is not None:
            if not kl > 0:
                raise ExportError(f"--target-kl: {kl:g}, must be a number of nats above 0, such as 0.02")
            return cls(kl=kl)
        return None if size is None else cls(size_bytes=parse_size(size))


def parse_size(text: str) -> int:
    """Bytes of a size such as 400MB, 1.5GB or 250MiB.

    Raises: ExportError.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]i?B)", text.strip(), re.IGNORECASE)
    if match is None or not 0 < float(match[1]) < math.inf:
        raise ExportError(f"--target-size: {text!r}, must be a size such as 400MB, 1.5GB or 250MiB")
    return int(float(match[1]) * UNITS[match[2].upper()])
