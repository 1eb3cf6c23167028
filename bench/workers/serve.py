"""The contender's half of the protocol: one JSON object a line comes in, one goes out.

Owns the process: stdin and stdout, the clock, the memory counters. Does not know any runtime; that is the
`Contender` it is given. Imports the standard library alone, because what it imports counts as start-up
time.

`perf_counter` reads one clock for the whole machine (CLOCK_MONOTONIC), so stamps taken here can be
compared with those of the process that started this one.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol


class Unsupported(Exception):
    """The contender has no such ability; its cell in the table stays empty."""


@dataclass(frozen=True)
class Setup:
    """How a contender is to load its model."""

    model: str  # a file or folder
    threads: int
    context_tokens: int
    options: dict[str, Any]


@dataclass(frozen=True)
class Task:
    """One prompt to be answered."""

    ids: list[int]
    tokens: int  # how many to generate, end-of-sequence or not
    keep: bool = False  # continue the previous task's sequence: `ids` begin with it
    script: list[int] | None = None  # what the sampler returns instead of what it drew
    # None: no speculation; else the longest draft, 0 for the contender's own choice.
    draft_tokens: int | None = None


class Contender(Protocol):
    """What a runtime must do to be measured."""

    def load(self, setup: Setup) -> dict[str, Any]:
        """Load the model; return facts worth reporting (versions, settings)."""

    def encode(self, text: str) -> list[int]:
        """Tokenize with the model's own tokenizer."""

    def generate(self, task: Task, stamp: Callable[[], None]) -> dict[str, Any]:
        """Answer the task greedily, calling `stamp` once a token as soon as it is known; return counters."""


def serve(contender: Contender) -> None:
    """Answer requests until stdin ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not look like a reply
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = {"ok": _answer(contender, request.pop("op"), request)}
        except Unsupported as error:
            reply = {"unsupported": str(error)}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def _answer(contender: Contender, op: str, arguments: dict[str, Any]) -> Any:
    if op == "load":
        return contender.load(Setup(**arguments))
    if op == "generate":
        return _timed(contender, Task(**arguments))
    if op == "first" and not hasattr(contender, op):  # from text: the tokenizer's work is part of it
        ids = contender.encode(arguments["text"])[: arguments["prompt_tokens"]]
        return _timed(contender, Task(ids, 1)) | {"prompt_tokens": len(ids)}
    if op == "memory":
        return memory()
    method = getattr(contender, op, None)  # what only one contender can do: `bandwidth`, `digest`
    if method is None:
        raise Unsupported(op)
    return method(**arguments)


def _timed(contender: Contender, task: Task) -> dict[str, Any]:
    stamps: list[float] = []
    start = perf_counter()
    counters = contender.generate(task, lambda: stamps.append(perf_counter()))
    return {"start_s": start, "stamps_s": stamps, **counters}


def memory() -> dict[str, int]:
    """Peak resident and current anonymous memory of this process, in bytes. Source: proc(5)."""
    status = _kilobytes(Path("/proc/self/status"))
    rollup = _kilobytes(Path("/proc/self/smaps_rollup"))
    return {
        "peak_rss_bytes": status["VmHWM"],
        "rss_bytes": rollup["Rss"],
        "anonymous_bytes": rollup["Anonymous"],
    }


def _kilobytes(path: Path) -> dict[str, int]:
    fields = (line.split() for line in path.read_text().splitlines())
    return {field[0].rstrip(":"): int(field[1]) * 1024 for field in fields if field[-1] == "kB"}
