"""One line of a log -> what it tells. Knows the shapes of the lines, not where they come from.

Four kinds count: the function's own (`handler/telemetry.py`), Lambda's report of an invocation as text or
JSON, API Gateway's access line (`template.yaml`), and metrics in the embedded format, which repeat what the
function's lines say and serve as a check.
Source: https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-logformat.html
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answered:
    """An answer was made; times in ms."""

    request: str
    stop_reason: str
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    prefill_ms: float
    decode_ms: float
    cold: bool
    init_ms: float
    instruction_set: str


@dataclass(frozen=True)
class Refused:
    """An error was the answer."""

    request: str
    status: int
    code: str


@dataclass(frozen=True)
class Trouble:
    """`bug` or `uncounted`: nobody foresaw it, or tokens are missing in a tenant's counters."""

    request: str
    kind: str


@dataclass(frozen=True)
class Invocation:
    """Lambda's report: what is billed, and how the environment began, if it did."""

    request: str
    billed_ms: float
    memory_mib: int
    peak_mib: int
    init_ms: float | None
    restore_ms: float | None
    failed: bool


@dataclass(frozen=True)
class Access:
    """API Gateway's line about a request; `tenant` is "" where nobody was let in."""

    request: str
    tenant: str
    route: str
    method: str
    status: int


@dataclass(frozen=True)
class Metrics:
    """How many answers a line of the embedded format counts."""

    answers: float


Fact = Answered | Refused | Trouble | Invocation | Access | Metrics


class Malformed(ValueError):
    """A line that begins as one of ours, and is not whole."""


REPORT = re.compile(r"REPORT RequestId: (\S+)\s+(.*)", re.DOTALL)
FIELD = re.compile(r"([A-Z][A-Za-z ]*?): ([\d.]+) (?:ms|MB)")


def read_line(text: str) -> Fact | None:
    """Tell what a line says; None for one that tells nothing of requests (START, END, warnings).

    What `aws logs tail` puts before a message is passed over. Raises: Malformed.
    """
    if found := REPORT.search(text):
        return _text_report(found[1], found[2])
    begin = text.find("{")
    if begin < 0:
        return None
    try:
        line = json.loads(text[begin:])
    except ValueError as error:
        raise Malformed(str(error)) from None
    if not isinstance(line, dict):
        return None
    try:
        return _json_line(line)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Malformed(f"{type(error).__name__}: {error}") from None


def _json_line(line: dict[str, Any]) -> Fact | None:
    if "_aws" in line:
        return Metrics(sum(line.get("Answers", [])))
    if line.get("type") == "platform.report":
        return _json_report(line["record"])
    if "requestId" in line and "route" in line:
        tenant = "" if line["tenant"] in ("-", None) else line["tenant"]
        return Access(line["requestId"], tenant, line["route"], line["method"], int(line["status"]))
    match line.get("message"):
        case "answered":
            return _answered(line)
        case "refused":
            return Refused(line["request"], int(line["status"]), line["code"] or "none")
        case "bug" | "uncounted" as kind:
            return Trouble(line["request"], kind)
    return None


def _answered(line: dict[str, Any]) -> Answered:
    return Answered(
        request=line.get("correlation_id") or "",
        stop_reason=str(line["stop_reason"]),
        prompt_tokens=int(line["prompt_tokens"]),
        cached_tokens=int(line["cached_tokens"]),
        output_tokens=int(line["output_tokens"]),
        prefill_ms=float(line["prefill_ms"]),
        decode_ms=float(line["decode_ms"]),
        cold=bool(line["cold"]),
        init_ms=float(line["init_ms"]),
        instruction_set=line.get("instruction_set") or "",  # lines of before it was told
    )


def _json_report(record: dict[str, Any]) -> Invocation:
    measured = record["metrics"]
    return Invocation(
        request=record["requestId"],
        billed_ms=measured["billedDurationMs"] + measured.get("billedRestoreDurationMs", 0),
        memory_mib=int(measured["memorySizeMB"]),
        peak_mib=int(measured["maxMemoryUsedMB"]),
        init_ms=measured.get("initDurationMs"),
        restore_ms=measured.get("restoreDurationMs"),
        failed=record.get("status", "success") != "success",
    )


def _text_report(request: str, fields: str) -> Invocation:
    found = {name: float(value) for name, value in FIELD.findall(fields)}
    try:
        return Invocation(
            request=request,
            billed_ms=found["Billed Duration"] + found.get("Billed Restore Duration", 0),
            memory_mib=int(found["Memory Size"]),
            peak_mib=int(found["Max Memory Used"]),
            init_ms=found.get("Init Duration"),
            restore_ms=found.get("Restore Duration"),
            failed="Status: " in fields,
        )
    except KeyError as error:
        raise Malformed(f"REPORT without {error}") from None
