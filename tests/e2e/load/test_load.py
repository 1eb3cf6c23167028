"""The load test itself, for a few seconds: locust, the router and real environments."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.load.__main__ import LOCUST
from bench.load.environment import Environment
from bench.load.results import summarize
from bench.load.router import Placement
from tests.stack import PROJECT


@pytest.fixture(scope="module")
def found(house_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run of five seconds found: three users, two environments at most, nobody thinks for long.

    With the embedded model, whose answers sent back are as long as they were: what random weights say is
    mostly not UTF-8, and three tokens for each of its own soon leave the context.
    """
    out = tmp_path_factory.mktemp("load") / "found.json"
    command = [sys.executable, "-m", "bench.load", "--environments", "2", "--users", "3", "--seconds", "5"]
    command += ["--think", "0.2", "--bundle", str(house_bundle), "--out", str(out)]
    run = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stdout + run.stderr
    answer: dict[str, Any] = json.loads(out.read_text())
    return answer


def test_everybody_is_answered(found: dict[str, Any]) -> None:
    """No answer is missing or wrong, whole or streamed, by either API."""
    assert found["failures"] == {}
    assert found["locust_status"] == 0
    assert found["answers"] == found["cold"]["answers"] + found["warm"]["answers"] > 3
    assert found["output_tokens"] > 0


def test_an_environment_is_cold_once(found: dict[str, Any]) -> None:
    """As many answers are cold as environments were started, and no more than may be are started."""
    assert 1 <= found["environments_started"] <= 2
    assert found["cold"]["answers"] <= found["environments_started"]
    assert found["all"]["time_to_first_token_ms"]["p50"] > 0
    assert found["warm"]["decode_tokens_per_s"]["p50"] > 0


def test_a_request_gets_a_free_environment_a_new_one_or_none() -> None:
    """The one used last is asked first; another is started only when none is free; then none."""

    async def start(number: int) -> Environment:
        return Environment(number, 0, None)  # type: ignore[arg-type]

    async def story() -> None:
        placement = Placement(start, 2)
        first = await placement.take()
        second = await placement.take()
        assert first is not None
        assert second is not None
        assert [(first[0].number, first[1]), (second[0].number, second[1])] == [(0, True), (1, True)]
        assert await placement.take() is None
        assert placement.throttled == 1
        placement.give_back(second[0])
        placement.give_back(first[0])
        again = await placement.take()
        assert again == (first[0], False)

    asyncio.run(story())


def test_a_conversation_that_cannot_be_begun_is_a_failure(tmp_path: Path) -> None:
    """It is counted as an answer that did not come would be."""
    program = (
        "from locust.env import Environment\n"
        "from bench.load import mix, talk\n"
        "mix.draw = lambda dice: next(kind for kind in mix.KINDS if kind.api == 'conversation')\n"
        "talker = talk.Talker(Environment())\n"
        "talker.host = 'http://127.0.0.1:9'\n"
        "talker.on_start()\n"
        "talker.converse()\n"
    )
    samples = tmp_path / "samples"
    variables = {"LOAD_SAMPLES": str(samples), "LOAD_MODEL": "any", "LOAD_THINK_S": "0"}
    command = [str(LOCUST.with_name("python")), "-c", program]
    run = subprocess.run(command, cwd=PROJECT, env=os.environ | variables, capture_output=True, timeout=60)
    assert b"ConnectionError" in run.stderr
    (failure,) = summarize([json.loads(line) for line in samples.read_text().splitlines()], 1.0)["failures"]
    assert failure.startswith("ConnectionError")
