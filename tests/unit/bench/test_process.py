"""The protocol between harness and worker, spoken with a real process."""

import sys
import time
from pathlib import Path

import pytest

from bench.process import NotSupported, WorkerFailed, WorkerProcess

PROJECT = Path(__file__).parents[3]
FAKE = Path(__file__).with_name("fake_worker.py")
SETUP = {"model": "m", "threads": 2, "context_tokens": 64, "options": {}}


@pytest.fixture
def worker(tmp_path):
    found = WorkerProcess(
        [sys.executable, str(FAKE)], log=tmp_path / "log", environment={"PYTHONPATH": str(PROJECT)}
    )
    yield found
    found.close()


def test_stamps_are_on_the_clock_of_the_harness(worker):
    """A token's stamp lies between the harness's own readings before and after: start-up can be measured."""
    worker.ask("load", timeout_s=60, **SETUP)
    before = time.perf_counter()
    reply = worker.ask("generate", timeout_s=60, ids=[1, 2], tokens=3)
    after = time.perf_counter()
    times = [worker.started_s, before, reply["start_s"], *reply["stamps_s"], after]
    assert times == sorted(times)
    assert len(reply["stamps_s"]) == 3


def test_what_libraries_print_is_no_reply(worker):
    """A library that writes to stdout does not disturb the protocol."""
    assert worker.ask("load", timeout_s=60, **SETUP) == {"version": "1", "threads": 2, "context_tokens": 64}


def test_first_goes_through_the_tokenizer(worker):
    """`first` tokenizes, cuts to the number of tokens asked for, and generates one."""
    worker.ask("load", timeout_s=60, **SETUP)
    reply = worker.ask("first", timeout_s=60, text="one two three four", prompt_tokens=3)
    assert reply["prompt_tokens"] == 3
    assert len(reply["stamps_s"]) == 1


def test_errors_and_missing_abilities_differ(worker):
    """What a contender cannot do is told apart from what went wrong, and the worker lives on after both."""
    with pytest.raises(WorkerFailed, match="load: FileNotFoundError: no such model"):
        worker.ask("load", timeout_s=60, **{**SETUP, "model": "missing"})
    with pytest.raises(NotSupported, match="fly"):
        worker.ask("fly", timeout_s=60)
    assert worker.ask("load", timeout_s=60, **SETUP)["version"] == "1"


def test_a_death_is_reported_with_its_last_words(worker):
    """When the process ends, the error carries its exit code and the last line of its log."""
    with pytest.raises(WorkerFailed, match="die: the process ended with code 3: out of luck"):
        worker.ask("die", timeout_s=60)


def test_silence_ends_at_the_deadline(worker):
    """A worker that does not answer is given up."""
    worker.ask("load", timeout_s=60, **SETUP)
    with pytest.raises(WorkerFailed, match="no answer within"):
        worker.ask("sleep", timeout_s=0.2, seconds=60)


def test_a_paused_worker_does_nothing_until_it_is_resumed(worker):
    """Pausing takes the processor away; the request that waited is answered after resuming."""
    worker.ask("load", timeout_s=60, **SETUP)
    worker.pause()
    with pytest.raises(WorkerFailed, match="no answer"):
        worker.ask("sleep", timeout_s=0.3, seconds=0)
    worker.resume()
    assert worker.ask("memory", timeout_s=60) == "awake"  # the reply to the request that waited


def test_a_worker_that_has_ended_is_left_alone(worker):
    """Whoever pauses or wakes it then hides nothing of why it ended."""
    with pytest.raises(WorkerFailed):
        worker.ask("die", timeout_s=60)
    worker.pause()
    worker.resume()


def test_closing_ends_even_a_paused_worker(worker):
    """No process stays behind."""
    worker.ask("load", timeout_s=60, **SETUP)
    worker.pause()
    worker.close()
    assert worker._process.returncode is not None


def test_memory_is_that_of_the_worker(worker):
    """Peak memory is at least what is resident, which holds at least the anonymous part."""
    found = worker.ask("memory", timeout_s=60)
    assert found["peak_rss_bytes"] >= found["anonymous_bytes"] > 0
