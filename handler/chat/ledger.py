"""Who has used how many tokens on which day (UTC): written after every answer, read before it where there is
a quota.

Knows the store's counters and what a run is; nothing of receipts, prices or HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta

from handler.background import Background
from handler.chat.budget import Allowance, Caller
from handler.chat.run import Run
from handler.sessions import SessionStore, Usage
from handler.telemetry import Telemetry

COUNTING_S = 0.5
"""An answer waits no longer for its count: a store that does not answer must not make the gateway give up."""


class Ledger:
    """The tenants' counters, and the one quota for all of them."""

    def __init__(
        self, store: SessionStore, daily_tokens: int, now_s: Callable[[], float], telemetry: Telemetry
    ) -> None:
        """`daily_tokens` of 0 is no quota; `now_s` gives Unix seconds."""
        self.daily_tokens = daily_tokens
        self._store, self._now_s, self._telemetry = store, now_s, telemetry

    def today(self) -> date:
        """The day that is counted on now."""
        return datetime.fromtimestamp(self._now_s(), UTC).date()

    def used(self, tenant: str, day: date) -> Usage:
        """Read what a tenant has used on a day. Raises: Unavailable."""
        return self._store.usage(tenant, day.isoformat())

    def allowance(self, tenant: str) -> Allowance | None:
        """Read what a tenant may use now: one read, and none where there is no quota. Raises: Unavailable."""
        if not self.daily_tokens:
            return None
        return self.allowance_after(self.used(tenant, self.today()))

    def allowance_after(self, used: Usage) -> Allowance:
        """Say what is left of the quota after what has been used today."""
        return Allowance(self.daily_tokens, used.total_tokens, self._reset_s())

    def settle(self, caller: Caller) -> None:
        """Count what was generated for a request; what cannot be counted is logged, and fails nothing."""
        used = usage_of(caller.runs)
        caller.runs.clear()
        if used.requests:
            Background(lambda: self._count(caller, used)).wait(COUNTING_S)

    def _count(self, caller: Caller, used: Usage) -> None:
        try:
            self._store.add_usage(caller.tenant, self.today().isoformat(), used)
        except Exception as error:
            self._telemetry.uncounted(error, caller.request_id, used.total_tokens)

    def _reset_s(self) -> int:
        tomorrow = datetime.combine(self.today() + timedelta(days=1), datetime.min.time(), UTC)
        return max(1, int(tomorrow.timestamp() - self._now_s()))


def usage_of(runs: Sequence[Run]) -> Usage:
    """Sum up the runs of one request; those that share a prompt count it once.

    A run that was never begun, or failed before its first token, counts nothing.
    """
    begun = [run for run in runs if run.output_ids or run.stop_reason != "cancelled"]
    prompts = {id(run.job.prompt_ids): run for run in reversed(begun)}.values()
    return Usage(
        input_tokens=sum(run.prompt_tokens for run in prompts),
        cached_tokens=sum(run.cached_tokens for run in prompts),
        output_tokens=sum(len(run.output_ids) for run in begun),
        requests=1 if begun else 0,
    )
