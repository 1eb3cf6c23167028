"""The runtime keeps what the managed one gives: its start, its SnapStart hooks, its way out, its tidiness."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.runtime.conftest import FUNCTION, Environment
from tests.contract.runtime.runtime_api import RuntimeApi

Start = Callable[..., Environment]

# As in the managed runtime: a script beside the package, which is found because python looks there first.
BOOTSTRAP = """
import os, sys
sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])
import beside_the_script
from awslambdaric.__main__ import main
main(["bootstrap", os.environ["_HANDLER"]])
"""


def test_it_starts_the_script_that_lambda_names(start: Start, tmp_path: Path) -> None:
    """With a script for its argument, as Lambda gives it, the script finds its own folder and streams."""
    (tmp_path / "bootstrap.py").write_text(BOOTSTRAP)
    (tmp_path / "beside_the_script.py").touch()
    api = start(sys.executable, str(tmp_path / "bootstrap.py")).api
    assert api.invoke({"do": "count", "chunks": 2}).payload == b"0000000000000001"
    told = json.loads(api.invoke({"do": "environment"}).body)
    assert told["streaming"] == "1"
    assert 0 < told["remaining_ms"] <= 60_000


def test_an_unknown_start_is_run_as_it_is(start: Start) -> None:
    """Interpreter options that it does not know: the command runs untouched, buffered, with one line why."""
    environment = start(sys.executable, "-B", "-m", "awslambdaric", FUNCTION)
    assert json.loads(environment.api.invoke({"do": "environment"}).body)["streaming"] is None
    assert environment.log.read_text().count("answers are buffered, not streamed") == 1


def test_another_awslambdaric_is_left_alone(start: Start, tmp_path: Path) -> None:
    """When the client's method has another shape, the function still runs, buffered, with one line why."""
    (tmp_path / "sitecustomize.py").write_text(
        "from awslambdaric import lambda_runtime_client as module\n"
        "known = module.LambdaRuntimeClient.post_invocation_result\n"
        "def other(self, request, *more): return known(self, request, *more)\n"
        "module.LambdaRuntimeClient.post_invocation_result = other\n"
    )
    environment = start(PYTHONPATH=str(tmp_path))
    assert json.loads(environment.api.invoke({"do": "environment"}).body)["streaming"] is None
    assert "another signature" in environment.log.read_text()


def test_an_environment_for_several_invocations_is_left_alone(start: Start) -> None:
    """Where the runtime forks one process for each of several invocations at once, nothing is extended."""
    environment = start(AWS_LAMBDA_MAX_CONCURRENCY="1")
    assert json.loads(environment.api.invoke({"do": "environment"}).body)["streaming"] is None


def test_snapstart_hooks_run_around_the_snapshot(start: Start, tmp_path: Path) -> None:
    """Before the snapshot the one hook runs, after the restore the other, then the first event is taken."""
    (tmp_path / "hooked.py").write_text(
        "from pathlib import Path\n"
        "from snapshot_restore_py import register_before_snapshot, register_after_restore\n"
        "from tests.contract.runtime.scripted_function import handler\n"
        f"note = lambda name: (Path({str(tmp_path)!r}) / name).touch()\n"
        "register_before_snapshot(note, 'before')\n"
        "register_after_restore(note, 'after')\n"
    )
    api = RuntimeApi(snapstart_restores=False)
    command = (sys.executable, "-m", "awslambdaric", "hooked.handler")
    environment = start(
        *command, api=api, PYTHONPATH=str(tmp_path), AWS_LAMBDA_INITIALIZATION_TYPE="snap-start"
    )
    under_way = environment.api.start({"do": "count", "chunks": 1})
    assert api.restored.wait(60), "the runtime never asked for its restore"
    assert (tmp_path / "before").exists()
    assert not (tmp_path / "after").exists()
    assert not under_way.chunks
    api.may_restore.set()
    assert under_way.wait_for().kind == "streamed"
    assert (tmp_path / "after").exists()


@pytest.mark.parametrize(("phase", "exit_code"), [("before_snapshot", 64), ("after_restore", 65)])
def test_a_hook_that_fails_is_told(start: Start, tmp_path: Path, phase: str, exit_code: int) -> None:
    """An environment whose hook fails says in which phase, and ends without taking an event."""
    (tmp_path / "hooked.py").write_text(
        f"from snapshot_restore_py import register_{phase}\n"
        "from tests.contract.runtime.scripted_function import handler\n"
        "def fail(): raise RuntimeError('the hook broke')\n"
        f"register_{phase}(fail)\n"
    )
    command = (sys.executable, "-m", "awslambdaric", "hooked.handler")
    environment = start(*command, PYTHONPATH=str(tmp_path), AWS_LAMBDA_INITIALIZATION_TYPE="snap-start")
    assert environment.process.wait(timeout=60) == exit_code
    api = environment.api
    (told,) = {64: api.init_errors, 65: api.restore_errors}[exit_code]
    assert (told["errorType"], told["errorMessage"]) == ("RuntimeError", "the hook broke")
    assert not api.asked.is_set()


def test_every_invocation_has_its_own_trace(start: Start) -> None:
    """X-Ray's trace id is the invocation's own, and none is left over where there is none."""
    api = start().api
    traces = ["Root=1-00000000-000000000000000000000001;Sampled=1", None, "Root=1-00000000-2;Sampled=0"]
    told = [api.invoke({"do": "environment"}, trace_id=trace).body for trace in traces]
    assert [json.loads(body)["trace"] for body in told] == traces


def test_a_poll_that_breaks_off_is_repeated(start: Start) -> None:
    """The next event is asked for again: nothing was lost with the connection."""
    api = RuntimeApi()
    api.reset_next = 2
    assert start(api=api).api.invoke({"do": "count", "chunks": 1}).kind == "streamed"


def test_an_environment_that_reaches_nobody_ends(start: Start) -> None:
    """After three polls in vain the process ends, so that the platform makes another."""
    api = RuntimeApi()
    api.reset_next = 3
    assert start(api=api).process.wait(timeout=60) != 0
    assert api.reset_next == 0


def test_a_function_that_cannot_start_says_so(start: Start) -> None:
    """An import error reaches the platform as an init error, and the process ends."""
    environment = start(sys.executable, "-m", "awslambdaric", "no_such_module.handler")
    assert environment.process.wait(timeout=60) == 1
    assert environment.api.init_errors[0]["errorType"] == "Runtime.ImportModuleError"


def test_hundreds_of_invocations_leave_nothing_open(start: Start, tmp_path: Path) -> None:
    """Of 600 invocations, well and badly ended, no file and no thread is left behind by the last 540."""
    environment = start()
    api = environment.api
    closed = str(tmp_path / "closed")

    def round_of_six() -> None:
        assert api.invoke({"do": "count", "chunks": 4}).kind == "streamed"
        assert api.invoke({"do": "proxy", "answer": {"statusCode": 200}}).kind == "buffered"
        assert api.invoke({"do": "count", "chunks": 2, "error": "again"}).trailers
        assert api.invoke({"do": "endless", "closed": closed}, hang_up_after=2).kind == "cut"
        assert api.invoke({"do": "raise"}).kind == "error"
        assert api.invoke({"do": "early"}).kind == "error"

    def open_now() -> tuple[int, int]:
        api.invoke({"do": "environment"})
        return len(environment.opened()), environment.status("Threads")

    for _ in range(10):
        round_of_six()
    before = open_now()
    for _ in range(90):
        round_of_six()
    after = open_now()
    assert after[0] <= before[0] + 1  # the poll for the next event has a socket open, or has not yet
    assert after[1] <= before[1] + 1
