"""What a tenant asks about itself as a whole: how much it has used, and to be forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from handler.chat.budget import Budget
from handler.chat.ledger import Ledger
from handler.errors import InvalidValue
from handler.schema.tenants import Erasure, UsageBucket, UsageFacts, UsagePage, UsageResult
from handler.sessions import SessionStore, Usage


@dataclass(frozen=True)
class Tenants:
    """`GET /v1/usage`, `POST /v1/erase`."""

    store: SessionStore
    ledger: Ledger

    def usage(self, tenant: str, period: str | None) -> UsagePage:
        """Read what was used on a day, or today. Raises: InvalidRequest."""
        today = self.ledger.today()
        day = today if period is None else _day(period)
        used = self.ledger.used(tenant, day)
        left = self.ledger.allowance_after(used) if self.ledger.daily_tokens and day == today else None
        return UsagePage(
            data=[_bucket(day, used)],
            dormouse=UsageFacts(
                period=day.isoformat(),
                limit_tokens=left.limit_tokens if left else None,
                remaining_tokens=left.remaining_tokens if left else None,
                reset_s=left.reset_s if left else None,
            ),
        )

    def erase(self, budget: Budget) -> Erasure:
        """Forget everything of the tenant, save what it has used of today's quota, where there is one.

        Raises: Unavailable where time runs out; the same call goes on.
        """
        self.store.erase(
            budget.caller.tenant,
            counted_period=self.ledger.today().isoformat() if self.ledger.daily_tokens else None,
            should_stop=lambda: budget.should_stop() is not None,
        )
        return Erasure()


def _day(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or day.isoformat() != text or day == date.max:
        raise InvalidValue(f"expected a day as YYYY-MM-DD, but got {text[:64]!r}", param="period")
    return day


def _bucket(day: date, used: Usage) -> UsageBucket:
    start = datetime.combine(day, datetime.min.time(), UTC)
    result = UsageResult(
        input_tokens=used.input_tokens,
        input_cached_tokens=used.cached_tokens,
        output_tokens=used.output_tokens,
        num_model_requests=used.requests,
    )
    return UsageBucket(
        start_time=int(start.timestamp()),
        end_time=int((start + timedelta(days=1)).timestamp()),
        results=[result] if used.requests else [],
    )
