"""One interleaved run on one shape: every contender in turn, round after round, the others held still.

Owns the order of things. Does not know what scenarios ask (`scenarios`), how workers are spoken to
(`process`), or how figures are summarized (`results`, `report`).
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from bench.artifacts import Facts, Unavailable
from bench.contenders import Contender
from bench.passages import scripted
from bench.process import NotSupported, WorkerFailed, WorkerProcess
from bench.results import MACHINE, ShapeResult
from bench.scenarios import ROUND, SHORT, SINGLE, Scenario, Way, prompt_ids

LOAD_TIMEOUT_S = 300.0
CONTEXT_TOKENS = 2560  # room for the longest scenario
SMALL_CONTEXT_TOKENS = 1024  # where memory is measured
BANDWIDTH_PASSES = 6
MEMORY_PROMPT_TOKENS, MEMORY_TOKENS = 512, 32


@dataclass(frozen=True)
class Plan:
    """How long and with what to run."""

    rounds: int
    threads: int
    context_tokens: int  # of the shape

    def context(self, wanted: int) -> int:
        """As much as wanted, or as the model has."""
        return min(wanted, self.context_tokens)


class Workers(Protocol):
    """Where contenders come from."""

    def facts(self, contender: Contender) -> Facts:
        """Have its files ready; raises Unavailable."""

    def worker(self, contender: Contender) -> WorkerProcess:
        """Start its process."""

    def probe(self) -> WorkerProcess:
        """Start the bandwidth probe."""


Save = Callable[[], None]


class ShapeRun:
    """The contenders on one shape; figures go to `result` as they come."""

    def __init__(
        self,
        result: ShapeResult,
        contenders: Sequence[Contender],
        plan: Plan,
        workshop: Workers,
        save: Save,
    ) -> None:
        self._result, self._plan, self._workshop, self._save = result, plan, workshop, save
        self._contenders = [contender for contender in contenders if self._prepared(contender)]
        self._workers: dict[str, WorkerProcess] = {}

    @property
    def has_nobody(self) -> bool:
        """No contender could be made ready, or none is left."""
        return not self._contenders

    def throughput(self) -> None:
        """Decode, prefill, second turns and repeated text, with all threads."""
        loaded = [contender for contender in self._contenders if not contender.start_only]
        with self._running(loaded, self._plan.threads):
            self._workers[MACHINE] = self._probe()
            for round_ in range(-1, self._plan.rounds):  # round -1 warms up and is thrown away
                self._round(loaded, ROUND if round_ >= 0 else (SHORT,), round_)

    def single(self) -> None:
        """The same with one thread, for the few contenders where it matters."""
        alone = [contender for contender in self._contenders if contender.single]
        with self._running(alone, 1):
            for round_ in range(-1, self._plan.rounds):
                self._round(alone, SINGLE, round_, "one_thread_")

    def starts(self, text: str, prompt_tokens: int) -> None:
        """A fresh process each time, from its making to its first token; the first warms the page cache."""
        for round_ in range(-1, self._plan.rounds):
            for contender in list(self._contenders):
                if _is_over(contender, round_):
                    continue
                self._say(f"start, round {round_}: {contender.key}")
                with self._reporting(contender, "start"):
                    figures = self._start(contender, text, prompt_tokens, measure_memory=round_ == 0)
                    if round_ >= 0:
                        self._result.add(contender.key, round_, figures)
            self._save()

    def exactness(self) -> None:
        """Hash every drawn token's logits, over ways to cut the prompt, drafts on and off, and thread counts.

        The answer repeats the prompt in part, so that some guesses are right and some are wrong.
        """
        exact = next((c for c in self._contenders if c.key == "ours-exact"), None)
        if exact is None:
            return
        ids, script = scripted()[0].prompt_ids, [id_ for task in scripted() for id_ in task.answer_ids]
        half = len(ids) // 2
        cuts = {
            "whole": [],
            "in halves": [half],
            "in odd pieces": [1, 7, half - 9],
            "all but one": [len(ids) - 1],
        }
        for threads in (1, self._plan.threads):
            with self._running([exact], threads), self._reporting(exact, "exactness"):
                worker = self._workers.get(exact.key)
                if worker is None:
                    return
                worker.resume()
                for (name, pieces), drafts in itertools.product(cuts.items(), (False, True)):
                    found = worker.ask(
                        "digest", timeout_s=600.0, ids=ids, script=script, drafts=drafts, pieces=pieces
                    )
                    way = {"threads": threads, "prompt": name, "drafts": drafts}
                    self._result.exactness.append({**way, **found})
        self._save()

    def _prepared(self, contender: Contender) -> bool:
        try:
            self._result.facts[contender.key] = self._workshop.facts(contender)
        except Unavailable as error:
            self._result.absent[contender.key] = str(error)
            return False
        return True

    def _round(
        self, contenders: Sequence[Contender], scenarios: Sequence[Scenario], round_: int, prefix: str = ""
    ) -> None:
        for scenario in scenarios:
            if scenario.longest_tokens > self._plan.context_tokens or _is_over(scenario, round_):
                continue
            for contender in contenders:
                if _is_over(contender, round_):
                    continue
                worker = self._workers.get(contender.key)
                if worker is None or f"{contender.key} {scenario.name}" in self._result.absent:
                    continue
                self._say(f"{prefix}{scenario.name}, round {round_}: {contender.key}")
                with self._reporting(contender, scenario.name), _awake(worker):
                    way = Way(contender.own_drafts, contender.lookups)
                    figures = scenario.run(worker, way, round_)
                    if round_ >= 0:
                        self._result.add(contender.key, round_, {prefix + k: v for k, v in figures.items()})
        if round_ >= 0 and MACHINE in self._workers:
            with _awake(self._workers[MACHINE]):
                read = self._workers[MACHINE].ask("bandwidth", timeout_s=60.0, passes=BANDWIDTH_PASSES)
            self._result.add(MACHINE, round_, read)
        self._save()

    def _start(
        self, contender: Contender, text: str, prompt_tokens: int, *, measure_memory: bool
    ) -> dict[str, float]:
        worker = self._workshop.worker(contender)
        try:
            self._load(worker, contender, self._plan.threads, SMALL_CONTEXT_TOKENS)
            first = worker.ask("first", timeout_s=LOAD_TIMEOUT_S, text=text, prompt_tokens=prompt_tokens)
            figures = {"start_s": first["stamps_s"][0] - worker.started_s}
            if "first_byte_s" in first:
                figures["start_first_byte_s"] = first["first_byte_s"] - worker.started_s
            if measure_memory:
                if not contender.start_only:
                    ids = prompt_ids("memory", MEMORY_PROMPT_TOKENS)
                    worker.ask("generate", timeout_s=LOAD_TIMEOUT_S, ids=ids, tokens=MEMORY_TOKENS)
                figures |= worker.ask("memory", timeout_s=LOAD_TIMEOUT_S)
            return figures
        finally:
            worker.close()

    @contextmanager
    def _running(self, contenders: Sequence[Contender], threads: int) -> Iterator[None]:
        """Start and load workers one by one; each is held still until it is asked."""
        try:
            for contender in contenders:
                self._say(f"loading {contender.key}, threads {threads}")
                worker = self._workshop.worker(contender)
                self._workers[contender.key] = worker
                with self._reporting(contender, "load"):
                    notes = self._load(worker, contender, threads, CONTEXT_TOKENS)
                    self._result.notes[contender.key] = notes
                    worker.pause()
            yield
        finally:
            for worker in self._workers.values():
                worker.close()
            self._workers.clear()

    @contextmanager
    def _reporting(self, contender: Contender, what: str) -> Iterator[None]:
        """Note what a contender cannot do; one that breaks is out of the run, the others go on."""
        try:
            yield
        except (NotSupported, WorkerFailed) as error:
            loading = what in ("load", "start")
            self._result.absent[contender.key if loading else f"{contender.key} {what}"] = str(error)
            self._say(f"{contender.key}, {what}: {error}")
            if loading or isinstance(error, WorkerFailed):
                self._result.absent.setdefault(contender.key, f"{what}: {error}")
                self._contenders = [c for c in self._contenders if c.key != contender.key]
                if contender.key in self._workers:
                    self._workers.pop(contender.key).close()

    def _probe(self) -> WorkerProcess:
        probe = self._workshop.probe()
        setup = {"model": "", "threads": self._plan.threads, "context_tokens": 0, "options": {}}
        probe.ask("load", timeout_s=LOAD_TIMEOUT_S, **setup)
        probe.pause()
        return probe

    def _load(
        self, worker: WorkerProcess, contender: Contender, threads: int, context_tokens: int
    ) -> dict[str, Any]:
        facts: Facts = self._result.facts[contender.key]
        notes: dict[str, Any] = worker.ask(
            "load",
            timeout_s=LOAD_TIMEOUT_S,
            model=facts.path,
            threads=threads,
            context_tokens=self._plan.context(context_tokens),
            options=dict(contender.options),
        )
        return notes

    def _say(self, what: str) -> None:
        print(f"[{self._result.shape}] {what}", file=sys.stderr, flush=True)


def _is_over(limited: Contender | Scenario, round_: int) -> bool:
    return limited.rounds is not None and round_ >= limited.rounds


@contextmanager
def _awake(worker: WorkerProcess) -> Iterator[None]:
    """Let one worker run, all others being held still."""
    worker.resume()
    try:
        yield
    finally:
        worker.pause()
