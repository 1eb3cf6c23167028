"""The artifact streams: a real python3.13 with the built function, in front of the tests' own Runtime API."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.runtime.runtime_api import Invocation, RuntimeApi
from tests.e2e.artifact.conftest import Deployment, running
from tests.stack import sample_event


@pytest.fixture(scope="module")
def api(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeApi]:
    log = tmp_path_factory.mktemp("streaming") / "log"
    with running(deployment, log) as (api, process):
        while not api.asked.wait(0.1):
            assert process.poll() is None, log.read_text()
        yield api


def frames(answer: Invocation) -> list[str]:
    return answer.payload.decode().split("\n\n")[:-1]


@pytest.mark.parametrize("name", ["chat-stream", "response-stream", "function-url-chat-stream"])
def test_each_event_is_a_chunk_of_its_own(api: RuntimeApi, deployment: Deployment, name: str) -> None:
    """Prelude first, then one chunk for every server-sent event: nothing waits for what comes after it."""
    answer = api.invoke(sample_event(name, deployment.model))
    assert answer.kind == "streamed"
    assert answer.prelude["statusCode"] == 200
    assert answer.trailers == {}
    assert len(frames(answer)) > 5
    assert answer.chunks[1:] == [f"{frame}\n\n".encode() for frame in frames(answer)]
    assert frames(answer)[-1] == "data: [DONE]"


def test_a_client_that_leaves_does_not_hold_the_next_one_up(api: RuntimeApi, deployment: Deployment) -> None:
    """Generation for nobody ends, and the next request gets the answer it would have had."""
    before = api.invoke(sample_event("chat", deployment.model))
    event = sample_event("chat-stream", deployment.model)
    assert api.invoke(event, hang_up_after=2).kind == "cut"
    after = api.invoke(sample_event("chat", deployment.model))
    texts = [json.loads(answer.payload)["choices"][0]["message"]["content"] for answer in (before, after)]
    assert texts[0] == texts[1]


def test_a_damaged_bundle_never_serves(deployment: Deployment, tmp_path: Path) -> None:
    """One wrong byte: the process ends before its first event, with one line that names the file."""
    damaged = tmp_path / "bundle"
    shutil.copytree(deployment.folder / "bundle", damaged)
    graph = json.loads((damaged / "bundle.json").read_text())["graph"]["file"]
    content = bytearray((damaged / graph).read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / graph).write_bytes(content)
    log = tmp_path / "log"
    with running(deployment, log, DORMOUSE_BUNDLE=str(damaged)) as (api, process):
        assert process.wait(timeout=60) == 1
        assert api.current is None
    said = log.read_text()
    assert re.fullmatch(rf"dormouse: {damaged}: .* {graph}: .*\n", said), said
