"""What an answer took, from the runs it was made of and the prices in the settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from handler.chat.budget import Budget
from handler.chat.run import Run
from handler.schema.extras import Dormouse, Receipt, StopReason
from handler.settings import Settings
from handler.telemetry import Telemetry

_WORST_FIRST: tuple[StopReason, ...] = ("cancelled", "deadline", "length", "stop")


@dataclass
class Till:
    """Writes receipts and tells the operator of them.

    `init_ms` is what this process took to get ready; after a restore, what is billed of that: its hooks.
    Source: https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html#snapstart-pricing
    """

    settings: Settings
    telemetry: Telemetry
    init_ms: float
    exact: bool
    instruction_set: str

    def facts(self, runs: Sequence[Run], budget: Budget, dropped_items: Sequence[str] = ()) -> Dormouse:
        """Sum up the runs of one answer."""
        receipt = self._receipt(runs, budget)
        reason = min((run.stop_reason for run in runs), key=_WORST_FIRST.index)
        self.telemetry.answered(receipt, reason)
        return Dormouse(
            receipt=receipt,
            seed=runs[0].job.params.seed,
            stop_reason=reason,
            dropped_items=list(dropped_items),
        )

    def facts_of_rest(self, run: Run, budget: Budget, before: Dormouse, output_tokens: int) -> Dormouse:
        """Sum up an answer whose beginning has its facts already: times and costs are those of both."""
        facts = self.facts([run], budget, before.dropped_items)
        old, new = before.receipt, facts.receipt
        decode_ms, decoded = old.decode_ms + new.decode_ms, max(0, output_tokens - 1)
        priced = old.gb_s is not None and new.gb_s is not None
        receipt = new.model_copy(
            update={
                "prompt_tokens": old.prompt_tokens,
                "cached_tokens": old.cached_tokens,
                "output_tokens": output_tokens,
                "prefill_ms": round(old.prefill_ms + new.prefill_ms, 3),
                "decode_ms": round(decode_ms, 3),
                "tokens_per_s": round(decoded / decode_ms * 1000, 2) if decoded and decode_ms > 0 else None,
                "cold": old.cold or new.cold,
                "init_ms": round(old.init_ms + new.init_ms, 3),
                "gb_s": round((old.gb_s or 0) + (new.gb_s or 0), 6) if priced else None,
                "cost_usd": round((old.cost_usd or 0) + (new.cost_usd or 0), 12) if priced else None,
                "exact": old.exact and new.exact,
            }
        )
        return facts.model_copy(update={"receipt": receipt, "dropped_older": before.dropped_older})

    def _receipt(self, runs: Sequence[Run], budget: Budget) -> Receipt:
        asked = [run for run in runs if not run.job.repeats]
        cold = any(run.cold for run in runs)
        output_tokens = sum(len(run.output_ids) for run in runs)
        decode_ms = sum(run.decode_ms for run in runs)
        # The first token of each run came with its prefill.
        decoded = output_tokens - sum(1 for run in runs if run.output_ids)
        init_ms = self.init_ms if cold else 0.0
        gb_s = self._gb_s(budget.elapsed_s() * 1000 + init_ms)
        return Receipt(
            prompt_tokens=sum(run.prompt_tokens for run in asked),
            cached_tokens=sum(run.cached_tokens for run in asked),
            output_tokens=output_tokens,
            prefill_ms=round(sum(run.prefill_ms for run in runs), 3),
            decode_ms=round(decode_ms, 3),
            tokens_per_s=round(decoded / decode_ms * 1000, 2) if decoded and decode_ms > 0 else None,
            cold=cold,
            init_ms=round(init_ms, 3),
            memory_mib=self.settings.memory_mib,
            gb_s=gb_s,
            cost_usd=None if gb_s is None else self._cost_usd(gb_s),
            exact=self.exact and all(run.job.begun_on in (None, self.instruction_set) for run in runs),
            instruction_set=self.instruction_set,
        )

    def _gb_s(self, billed_ms: float) -> float | None:
        if self.settings.memory_mib is None:
            return None
        return round(self.settings.memory_mib / 1024 * billed_ms / 1000, 6)

    def _cost_usd(self, gb_s: float) -> float:
        return round(gb_s * self.settings.price_gb_s_usd + self.settings.price_request_usd, 12)
