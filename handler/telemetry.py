"""Logs and metrics: one line of JSON each, never a word of what was said.

Knows Powertools' Logger and Metrics. Metrics are written in CloudWatch's embedded format inside Lambda only;
outside they would be noise. Every line about a request carries its correlation id, API Gateway's request id,
which is the answer's `x-request-id` too.
"""

from __future__ import annotations

import sys
from typing import Protocol

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from handler.errors import Conflict, InternalError, QuotaExceeded, RequestError

NAMESPACE = "Dormouse"
SERVICE = "dormouse"
ENDED = {"stop": "Stopped", "length": "CutByLength", "deadline": "CutByDeadline", "cancelled": "Cancelled"}
"""How an answer ended -> the metric that counts it."""


class Receipt(Protocol):
    """The numbers of an answer that are worth a metric."""

    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    prefill_ms: float
    decode_ms: float
    tokens_per_s: float | None
    cold: bool
    init_ms: float
    instruction_set: str


class Telemetry:
    """Where the process tells its operator what happens."""

    def __init__(self, *, in_lambda: bool) -> None:
        self._in_lambda = in_lambda
        # Inside Lambda the template names the service, which tells one stack's metrics from another's.
        service = None if in_lambda else SERVICE
        self._logger = Logger(service=service, level="INFO" if in_lambda else "WARNING", stream=sys.stderr)
        self._service = self._logger.service

    def begins(self, request_id: str) -> None:
        """A request has come; in Lambda it is the only one, so all that is logged from now on is about it."""
        if self._in_lambda:
            self._logger.set_correlation_id(request_id)

    def refused(self, error: RequestError, request_id: str) -> None:
        """A request got an error for an answer; the message is left out, for it may quote the request."""
        self._logger.info(
            "refused", extra={"request": request_id, "status": error.status, "code": error.error_code}
        )
        if error.status >= 500:
            self._logger.error("unavailable", exc_info=error, extra={"request": request_id})
        counts = {"Refused": 1.0}
        if isinstance(error, Conflict):
            counts["Conflicts"] = 1.0
        if isinstance(error, QuotaExceeded):
            counts["QuotaRefusals"] = 1.0
        self._measure(counts)

    def bug(self, error: BaseException, request_id: str) -> None:
        """Something happened that nobody foresaw: logged whole."""
        self._logger.error("bug", exc_info=error, extra={"request": request_id})
        self._measure({"Bugs": 1.0})

    def uncounted(self, error: BaseException, request_id: str, tokens: int) -> None:
        """An answer was given whose tokens are missing in its tenant's counters."""
        self._logger.error("uncounted", exc_info=error, extra={"request": request_id, "tokens": tokens})
        self._measure({"Uncounted": 1.0})

    def answered(self, receipt: Receipt, stop_reason: str) -> None:
        """An answer was made."""
        self._logger.info(
            "answered",
            extra={
                "stop_reason": stop_reason,
                "prompt_tokens": receipt.prompt_tokens,
                "cached_tokens": receipt.cached_tokens,
                "output_tokens": receipt.output_tokens,
                "prefill_ms": receipt.prefill_ms,
                "decode_ms": receipt.decode_ms,
                "cold": receipt.cold,
                "init_ms": receipt.init_ms,
                "instruction_set": receipt.instruction_set,
            },
        )
        self._measure({"Answers": 1.0, ENDED[stop_reason]: 1.0, **_figures(receipt)})

    def as_request_error(self, error: Exception, request_id: str) -> RequestError:
        """Make of any error one that a client may see, and log it."""
        if isinstance(error, RequestError):
            self.refused(error, request_id)
            return error
        self.bug(error, request_id)
        return InternalError(request_id)

    def _measure(self, figures: dict[str, float]) -> None:
        """Write one line of the embedded format; a figure's unit is in its name."""
        if not self._in_lambda:
            return
        metrics = EphemeralMetrics(namespace=NAMESPACE, service=self._service)
        for name, value in figures.items():
            metrics.add_metric(name=name, unit=_unit(name), value=value)
        metrics.flush_metrics()


def _figures(receipt: Receipt) -> dict[str, float]:
    """What an answer took; a figure that it cannot have is left out, since CloudWatch would average a 0."""
    figures: dict[str, float] = {
        "InputTokens": receipt.prompt_tokens,
        "CachedTokens": receipt.cached_tokens,
        "OutputTokens": receipt.output_tokens,
    }
    if receipt.output_tokens:
        figures["TimeToFirstTokenMs"] = receipt.prefill_ms
    fresh = receipt.prompt_tokens - receipt.cached_tokens
    if fresh > 0 and receipt.prefill_ms > 0:
        figures["PrefillTokensPerS"] = fresh / receipt.prefill_ms * 1000
    if receipt.tokens_per_s is not None:
        figures["DecodeTokensPerS"] = receipt.tokens_per_s
    if receipt.cold:
        figures |= {"ColdStarts": 1.0, "InitMs": receipt.init_ms}
    return figures


def _unit(name: str) -> MetricUnit:
    if name.endswith("Ms"):
        return MetricUnit.Milliseconds
    return MetricUnit.CountPerSecond if name.endswith("PerS") else MetricUnit.Count
