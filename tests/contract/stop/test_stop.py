"""A server that is told to stop: answers under way end in time and are kept; nobody is left without one."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest

from tests.stack import PROJECT
from tests.unit.handler.scripted_engine import MODEL

GRACE_S = 10.0
"""What Cloud Run, the least patient of the platforms, gives a container."""


class SlowServer:
    """The process, and OpenAI's client for it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.url = self.says()
        self.client = openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=60)

    def says(self) -> str:
        """Wait for the next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def stop(self) -> float:
        """Tell it to stop, as a platform does; how long that took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(2 * GRACE_S) == 0
        return time.monotonic() - began


@contextmanager
def slow_server(sessions: Path) -> Iterator[SlowServer]:
    command = [sys.executable, "-m", "tests.contract.stop.slow_server", str(sessions)]
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    try:
        yield SlowServer(process)
    finally:
        process.kill()
        process.wait()


def test_a_streamed_answer_is_cut_kept_and_continued(tmp_path: Path) -> None:
    """Its client reads to the last event, the next process has all of it, and goes on where it ended."""
    with slow_server(tmp_path / "sessions") as server:
        said, took_s = "", [0.0]
        stopping = threading.Thread(target=lambda: took_s.append(server.stop()))
        stream = server.client.responses.create(model=MODEL, input="Talk.", temperature=0, stream=True)
        for event in stream:
            if event.type == "response.output_text.delta":
                said += event.delta
                if not stopping.ident:
                    stopping.start()
        stopping.join()
    assert event.type == "response.incomplete"
    assert 0 < took_s[-1] < GRACE_S
    with slow_server(tmp_path / "sessions") as server:
        stored = server.client.responses.retrieve(event.response.id)
        rest = server.client.responses.create(
            model=MODEL, previous_response_id=stored.id, input=[], temperature=0, max_output_tokens=4
        )
        whole = server.client.responses.create(
            model=MODEL, input="Talk.", temperature=0, max_output_tokens=stored.usage.output_tokens + 4
        )
    assert stored.status == "incomplete"
    assert stored.output_text == said
    assert said + rest.output_text == whole.output_text


def test_a_whole_answer_is_cut_and_given(tmp_path: Path) -> None:
    """A client that waits for the whole answer gets what there is, as 200 with finish reason `length`; one
    that waits for its turn is told to try again."""
    with slow_server(tmp_path / "sessions") as server, ThreadPoolExecutor(2) as pool:

        def ask() -> openai.types.chat.ChatCompletion:
            return server.client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "Talk."}]
            )

        asked = pool.submit(ask)
        assert [server.says(), server.says()] == ["asked", "at work"]
        waiting = pool.submit(ask)
        assert server.says() == "asked"
        assert server.stop() < GRACE_S
        assert asked.result().choices[0].finish_reason == "length"
        with pytest.raises(openai.InternalServerError) as refused:
            waiting.result()
    assert refused.value.status_code == 503
    assert refused.value.response.headers["x-should-retry"] == "true"


def test_nothing_under_way_is_no_wait(tmp_path: Path) -> None:
    """A server that nobody talks to stops at once, even with a connection open to it.

    False alarm only where the machine is busy for seconds at three stops in a row.
    """

    def stop_s() -> float:
        with slow_server(tmp_path / "sessions") as server:
            assert server.client.models.list().data
            return server.stop()

    assert any(stop_s() < 2.0 for _ in range(3))
