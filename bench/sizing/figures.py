"""Measured rows -> what an answer takes and costs at each memory size. Pure: no files, no clock.

Beyond what was measured, speeds follow Amdahl's law from those of one vCPU and of two, and all else is as at
two; such rows say that they are computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.sizing.share import vcpus
from handler.prices import MIB_PER_VCPU
from infra import prices

INPUT_TOKENS, OUTPUT_TOKENS = 200, 100
"""The answer that is priced: nothing of its prompt is cached."""

COMPUTED_MIB = (5307, 7076, 10240)
SPEEDS = ("prefill_tokens_per_s", "decode_tokens_per_s")


@dataclass(frozen=True)
class Size:
    """One memory size of one model; times in ms, costs in USD."""

    memory_mib: int
    measured: bool
    threads: int
    prefill_tokens_per_s: float
    decode_tokens_per_s: float
    beside_ms: float  # all of a request that is neither prefill nor decoding
    start_ms: float
    peak_mib: float

    @property
    def first_token_ms(self) -> float:
        """Warm, for the priced prompt."""
        return INPUT_TOKENS / self.prefill_tokens_per_s * 1000 + self.beside_ms

    @property
    def answer_ms(self) -> float:
        """Warm, the whole priced answer; the first token comes with the prompt."""
        return self.first_token_ms + (OUTPUT_TOKENS - 1) / self.decode_tokens_per_s * 1000

    @property
    def warm_usd(self) -> float:
        """Lambda's part of a warm answer."""
        return self._usd(self.answer_ms)

    @property
    def cold_usd(self) -> float:
        """Of one that starts its environment from nothing, without SnapStart."""
        return self._usd(self.answer_ms + self.start_ms)

    @property
    def million_tokens_usd(self) -> float:
        """A million output tokens with the prompts that led to them."""
        return self.warm_usd / OUTPUT_TOKENS * 1e6

    @property
    def fits(self) -> bool:
        """Whether the process's peak leaves a tenth of the memory to the system."""
        return self.peak_mib <= 0.9 * self.memory_mib

    def _usd(self, milliseconds: float) -> float:
        gb_s = milliseconds / 1000 * self.memory_mib / 1024
        return prices.compute(gb_s) + prices.REQUEST


def sizes(rows: Sequence[Mapping[str, Any]]) -> list[Size]:
    """The best measured row of each memory size, and the computed ones after them.

    Without rows of one and of two whole vCPUs nothing is computed.
    """
    best: dict[int, Mapping[str, Any]] = {}
    for row in rows:
        held = best.get(row["memory_mib"])
        if held is None or row["decode_tokens_per_s"] > held["decode_tokens_per_s"]:
            best[row["memory_mib"]] = row
    measured = [_size(best[memory], measured=True) for memory in sorted(best)]
    one, two = best.get(MIB_PER_VCPU), best.get(2 * MIB_PER_VCPU)
    if one is None or two is None:
        return measured
    larger = (memory for memory in COMPUTED_MIB if memory > max(best))
    return measured + [_size(_computed(one, two, memory), measured=False) for memory in larger]


def amdahl(one: float, two: float, cores: float) -> float:
    """A speed on more cores, from those on one and two. Source: Amdahl 1967, doi:10.1145/1465482.1465560."""
    serial = min(1.0, max(0.0, 2 * one / two - 1))
    return one / (serial + (1 - serial) / cores)


def _computed(one: Mapping[str, Any], two: Mapping[str, Any], memory_mib: int) -> dict[str, Any]:
    faster = {name: amdahl(one[name], two[name], vcpus(memory_mib)) for name in SPEEDS}
    return {**two, **faster, "memory_mib": memory_mib, "threads": 0}


def _size(row: Mapping[str, Any], *, measured: bool) -> Size:
    return Size(
        measured=measured, **{name: row[name] for name in Size.__dataclass_fields__ if name != "measured"}
    )


def hosted_usd(model: prices.HostedModel) -> float:
    """What the priced answer costs where tokens are sold."""
    return (INPUT_TOKENS * model.input_usd + OUTPUT_TOKENS * model.output_usd) / 1e6
