"""How fast bundles load and answer on this machine, each in a process of its own, taking turns.

Owns what is asked of them and the medians. Processes, their protocol and the clock are the bench's: whoever
is not asked is held still, so that what slows the machine for a while slows all.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from bench.process import WorkerFailed, WorkerProcess
from export.errors import ExportError
from handler.engine.bundle import read_manifest
from handler.engine.ort import usable_cores

PROJECT = Path(__file__).parents[1]
WORKER = [sys.executable, "-m", "bench.workers.ours"]
PROMPT_TOKENS, ANSWER_TOKENS = 128, 64
ROUNDS = 5
TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Speed:
    """Medians of one bundle's rounds."""

    load_s: float  # from the start of the process until it can answer
    prefill_tokens_per_s: float
    decode_tokens_per_s: float  # without guesses
    peak_bytes: int  # resident, after the answers


class CannotRun(ExportError):
    """A bundle's process failed; `name` is the bundle's."""

    def __init__(self, name: str, failure: WorkerFailed) -> None:
        super().__init__(f"{name}: cannot be run: {failure}")
        self.name = name
        self.failure = failure


def measure(bundles: Mapping[str, Path], scratch: Path, rounds: int = ROUNDS) -> dict[str, Speed]:
    """Every bundle's speed by name; all are loaded at once. `scratch` gets the processes' logs.

    Raises: CannotRun for the first of them that does not run.
    """
    with ExitStack() as ends:
        runners = {}
        for number, (name, folder) in enumerate(bundles.items()):
            runners[name] = _Runner(name, folder, scratch / f"worker-{number}.log")
            ends.callback(runners[name].process.close)
        for number in range(rounds):
            for runner in runners.values():
                runner.answer(number)
        return {name: runner.summary() for name, runner in runners.items()}


def measure_running(
    bundles: Mapping[str, Path], scratch: Path, leave_out: Callable[[str, str], None]
) -> dict[str, Speed]:
    """The speeds of those that run; `leave_out` is told the name of each that does not, and why.

    The others begin again then, since they take turns.
    """
    running = dict(bundles)
    while running:
        try:
            return measure(running, scratch)
        except CannotRun as error:
            leave_out(error.name, f"cannot be run: {error.failure}")
            del running[error.name]
    return {}


class _Runner:
    """One bundle's process, held still but for its turns."""

    def __init__(self, name: str, folder: Path, log: Path) -> None:
        self._name = name
        self._manifest = read_manifest(folder)
        self._prefill: list[float] = []
        self._decode: list[float] = []
        self.process = WorkerProcess(WORKER, log=log, environment={"PYTHONPATH": str(PROJECT)})
        context = self._manifest.context_tokens
        options = {"mode": "exact"}
        self._ask("load", model=str(folder), threads=usable_cores(), context_tokens=context, options=options)
        self._load_s = perf_counter() - self.process.started_s
        self.process.pause()

    def answer(self, number: int) -> None:
        """Read a prompt that no round had before, and answer it."""
        self.process.resume()
        prompt, answer = lengths(self._manifest.context_tokens)
        random = np.random.default_rng(number)
        ids = [int(i) for i in random.integers(0, self._manifest.dims.vocabulary, prompt)]
        found = self._ask("generate", ids=ids, tokens=answer)
        stamps = found["stamps_s"]
        self._prefill.append(prompt / (stamps[0] - found["start_s"]))
        self._decode.append((len(stamps) - 1) / (stamps[-1] - stamps[0]))
        self.process.pause()

    def summary(self) -> Speed:
        """The medians so far."""
        self.process.resume()
        peak = self._ask("memory")["peak_rss_bytes"]
        return Speed(self._load_s, statistics.median(self._prefill), statistics.median(self._decode), peak)

    def _ask(self, op: str, **arguments: Any) -> Any:
        try:
            return self.process.ask(op, timeout_s=TIMEOUT_S, **arguments)
        except WorkerFailed as error:
            self.process.close()
            raise CannotRun(self._name, error) from None


def lengths(context_tokens: int) -> tuple[int, int]:
    """Tokens of prompt and answer, fewer where the context is short; it takes two to time a step."""
    prompt = min(PROMPT_TOKENS, context_tokens // 2)
    return prompt, min(ANSWER_TOKENS, max(2, context_tokens - prompt - 2))
