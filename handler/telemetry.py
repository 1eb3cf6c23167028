"""Logs and metrics: one line of JSON each, never a word of what was said.

Knows Powertools' Logger and Metrics. Metrics are written in CloudWatch's embedded format inside Lambda only;
outside they would be noise.
"""

from __future__ import annotations

import sys
from typing import Protocol

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import MetricUnit, single_metric

from handler.errors import InternalError, RequestError

NAMESPACE = "Dormouse"
SERVICE = "dormouse"


class Receipt(Protocol):
    """The numbers of an answer that are worth a metric."""

    prompt_tokens: int
    output_tokens: int
    prefill_ms: float
    decode_ms: float
    cold: bool


class Telemetry:
    """Where the process tells its operator what happens."""

    def __init__(self, *, in_lambda: bool) -> None:
        self._in_lambda = in_lambda
        self._logger = Logger(service=SERVICE, level="INFO" if in_lambda else "WARNING", stream=sys.stderr)

    def refused(self, error: RequestError, request_id: str) -> None:
        """A request got an error for an answer; the message is left out, for it may quote the request."""
        self._logger.info(
            "refused", extra={"request": request_id, "status": error.status, "code": error.error_code}
        )
        if error.status >= 500:
            self._logger.error("unavailable", exc_info=error, extra={"request": request_id})
        self._count("Refused")

    def bug(self, error: BaseException, request_id: str) -> None:
        """Something happened that nobody foresaw: logged whole."""
        self._logger.error("bug", exc_info=error, extra={"request": request_id})
        self._count("Bugs")

    def uncounted(self, error: BaseException, request_id: str, tokens: int) -> None:
        """An answer was given whose tokens are missing in its tenant's counters."""
        self._logger.error("uncounted", exc_info=error, extra={"request": request_id, "tokens": tokens})
        self._count("Uncounted")

    def answered(self, receipt: Receipt, stop_reason: str) -> None:
        """An answer was made."""
        self._logger.info(
            "answered",
            extra={
                "stop_reason": stop_reason,
                "prompt_tokens": receipt.prompt_tokens,
                "output_tokens": receipt.output_tokens,
                "prefill_ms": receipt.prefill_ms,
                "decode_ms": receipt.decode_ms,
                "cold": receipt.cold,
            },
        )
        self._count("Answers")
        if stop_reason == "deadline":
            self._count("Deadlines")

    def as_request_error(self, error: Exception, request_id: str) -> RequestError:
        """Make of any error one that a client may see, and log it."""
        if isinstance(error, RequestError):
            self.refused(error, request_id)
            return error
        self.bug(error, request_id)
        return InternalError(request_id)

    def _count(self, name: str) -> None:
        if self._in_lambda:
            with single_metric(name=name, unit=MetricUnit.Count, value=1, namespace=NAMESPACE) as metric:
                metric.add_dimension(name="service", value=SERVICE)
