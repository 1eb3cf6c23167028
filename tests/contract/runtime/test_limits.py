"""What Lambda allows an answer, its size, its time and its reader's pace, costs no environment."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.contract.runtime.conftest import Environment
from tests.contract.runtime.runtime_api import BUFFERED_LIMIT_BYTES, STREAMED_LIMIT_BYTES, Invocation

Start = Callable[..., Environment]
MIB = 1 << 20


def error_type(answer: Invocation) -> str:
    """What the platform was told instead of an answer."""
    assert answer.kind == "error"
    return str(json.loads(answer.body)["errorType"])


def test_a_whole_answer_has_six_mebibytes(start: Start) -> None:
    """To the byte what Lambda takes; one more is an error of this invocation, and the next is served."""
    api = start().api
    fitting = api.invoke({"do": "large", "bytes": BUFFERED_LIMIT_BYTES})
    assert (fitting.kind, len(fitting.body)) == ("buffered", BUFFERED_LIMIT_BYTES)
    assert error_type(api.invoke({"do": "large", "bytes": BUFFERED_LIMIT_BYTES + 1})) == "AnswerTooLarge"
    assert api.invoke({"do": "count", "chunks": 1}).kind == "streamed"


def test_an_answer_that_is_no_text_is_an_error(start: Start) -> None:
    """Half a character cannot be sent; that is an error of this invocation, and the next is served."""
    api = start().api
    assert error_type(api.invoke({"do": "proxy", "answer": "\ud83d"})) == "UnicodeEncodeError"
    assert api.invoke({"do": "count", "chunks": 1}).kind == "streamed"


def test_a_stream_has_two_hundred_mebibytes(start: Start) -> None:
    """What is over is not sent; the trailers say why it ends, and the next invocation is served."""
    api = start().api
    answer = api.invoke({"do": "count", "chunks": 210, "size": MIB})
    assert STREAMED_LIMIT_BYTES - MIB <= len(answer.body) <= STREAMED_LIMIT_BYTES
    assert answer.broke_off_with["errorType"] == "AnswerTooLarge"
    assert api.invoke({"do": "count", "chunks": 1}).kind == "streamed"


def test_a_slow_reader_slows_the_function_down(start: Start, tmp_path: Path) -> None:
    """While nobody reads, no more is made than what the sockets hold; read on, the answer is whole."""
    made, read_on = tmp_path / "made", threading.Event()
    under_way = start().api.start(
        {"do": "count", "chunks": 64, "size": MIB, "made": str(made)}, read_on=read_on, bytes_per_s=256 * MIB
    )
    under_way.wait_for(chunks=1)
    while not made.exists():
        time.sleep(0.01)
    before = ""
    while before != (before := made.read_text()):
        time.sleep(0.3)
    assert 0 < int(before) < 32
    assert not under_way.kind
    read_on.set()
    assert len(under_way.wait_for().payload) == 64 * MIB


def test_a_reader_who_never_reads_is_given_up_in_time(start: Start, tmp_path: Path) -> None:
    """Before the invocation's time is up its answer is closed, and the next invocation is served.

    False alarm only where the machine keeps the process from running at three such ends in a row.
    """
    api = start().api
    api.invoke({"do": "count", "chunks": 1})  # the start is over

    def patience_s() -> float:
        closed, never = tmp_path / "closed", threading.Event()
        begun_s = time.monotonic()
        answer = api.invoke({"do": "flood", "closed": str(closed)}, read_on=never, deadline_s=3)
        assert api.invoke({"do": "count", "chunks": 1}).kind == "streamed"
        assert answer.kind == "abandoned"
        assert closed.read_text() == "closed"
        closed.unlink()
        never.set()
        return answer.given_up_s - begun_s

    assert any(2 < patience_s() < 3 for _ in range(3))
