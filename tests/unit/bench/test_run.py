"""A whole run with real, tiny processes in the place of contenders."""

import os
import sys
from itertools import groupby
from pathlib import Path

import pytest

from bench.artifacts import Facts, Unavailable
from bench.contenders import Contender
from bench.process import WorkerProcess
from bench.results import MACHINE, ShapeResult
from bench.run import Plan, ShapeRun

PROJECT = Path(__file__).parents[3]
FAKE = Path(__file__).with_name("fake_worker.py")
FIRST = Contender("first", "First", "-", "-", "-", single=True, lookups=(2,))
SECOND = Contender("second", "Second", "-", "-", "-", {"keeps": False})
BROKEN = Contender("broken", "Broken", "-", "-", "missing")
ABSENT = Contender("absent", "Absent", "nowhere", "-", "-")


class FakeWorkshop:
    """Starts the fake worker for everyone; `ABSENT` has no files."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.started: list[WorkerProcess] = []

    def facts(self, contender):
        if contender.key == "absent":
            raise Unavailable(".venv/nowhere is not installed")
        return Facts(contender.artifact, "fp32", "fp32", 4, 1, 4)

    def worker(self, contender):
        command = [sys.executable, str(FAKE)]
        path = os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])
        found = WorkerProcess(command, log=self.logs / "log", environment={"PYTHONPATH": path})
        self.started.append(found)
        return found

    def probe(self):
        return self.worker(FIRST)


@pytest.fixture
def workshop(tmp_path):
    return FakeWorkshop(tmp_path)


def run(workshop, contenders, *, context_tokens=4096):
    result, saved = ShapeResult("shape"), []
    found = ShapeRun(result, contenders, Plan(2, 2, context_tokens), workshop, lambda: saved.append(1))
    return found, result, saved


def test_contenders_take_turns(workshop):
    """A B, A B: everyone gives a figure before the next figure is asked for; the warm-up is not kept."""
    bench, result, _ = run(workshop, [FIRST, SECOND])
    bench.throughput()
    decoded = [(s.round, s.contender) for s in result.samples if s.metric == "decode_128"]
    assert decoded == [(0, "first"), (0, "second"), (1, "first"), (1, "second")]
    metrics = [s.metric for s in result.samples if s.contender == "first" and s.round == 0]
    assert [metric for metric, _ in groupby(metrics)][:3] == ["decode_128", "prefill_512", "decode_1024"]


def test_the_probe_runs_in_every_round(workshop):
    """Bandwidth is measured among the contenders, not before or after them."""
    bench, result, saved = run(workshop, [FIRST])
    bench.throughput()
    assert sorted(result.by_round(MACHINE, "bytes_per_s")) == [0, 1]
    assert len(saved) >= 2  # an interrupted run keeps its rounds


def test_what_a_contender_cannot_do_is_noted_and_the_rest_goes_on(workshop):
    """A missing ability leaves one cell empty; the broken and the absent leave the run, with the reason."""
    bench, result, _ = run(workshop, [FIRST, SECOND, BROKEN, ABSENT])
    bench.throughput()
    assert result.absent["absent"] == ".venv/nowhere is not installed"
    assert "no such model" in result.absent["broken"]
    assert result.absent["second second_turn"] == "nothing is kept"
    assert result.spread("second", "decode_1024") is not None
    assert result.spread("first", "second_turn_s") is not None


def test_a_small_context_leaves_long_scenarios_out(workshop):
    """A model that cannot hold 2,048 tokens is not asked to."""
    bench, result, _ = run(workshop, [FIRST], context_tokens=1024)
    bench.throughput()
    assert result.spread("first", "prefill_512") is not None
    assert result.spread("first", "prefill_2048") is None


def test_starts_are_fresh_processes(workshop):
    """One process for the warm-up and one for each round, each measured from its making; memory only once."""
    bench, result, _ = run(workshop, [FIRST])
    bench.starts("a prompt of few words", 4)
    assert len(workshop.started) == 3
    starts = result.by_round("first", "start_s")
    assert sorted(starts) == [0, 1]
    assert all(seconds > 0 for seconds in starts.values())
    assert sorted(result.by_round("first", "peak_rss_bytes")) == [0]


def test_one_thread_is_for_those_who_ask_for_it(workshop):
    """The section with one thread loads its contenders with one thread, and names its figures apart."""
    bench, result, _ = run(workshop, [FIRST, SECOND])
    bench.single()
    assert {s.contender for s in result.samples} == {"first"}
    assert {s.metric for s in result.samples} == {"one_thread_decode_128", "one_thread_prefill_512"}
    assert result.notes["first"]["threads"] == 1


def test_no_process_outlives_the_run(workshop):
    """Whatever happened, every worker has ended."""
    bench, _, _ = run(workshop, [FIRST, SECOND, BROKEN])
    bench.throughput()
    assert all(worker._process.returncode is not None for worker in workshop.started)
