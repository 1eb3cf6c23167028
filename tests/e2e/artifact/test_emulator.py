"""The artifact under the real Lambda Runtime Interface Emulator, called with recorded API Gateway events."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handler.sessions.dynamo_table import DynamoTable
from infra.report.day import Day, figures
from tests.e2e.artifact.conftest import Deployment
from tests.e2e.artifact.emulator import emulated, invoke
from tests.stack import local_variables, sample_event, sample_names


class Function:
    """The function behind the emulator's own HTTP door."""

    def __init__(self, url: str, log: Path, model: str) -> None:
        self.url = url
        self.log = log
        self.model = model

    def sample(self, name: str, **changes: Any) -> tuple[dict[str, Any], str]:
        """Invoke with a sample event whose body has these changes."""
        event = sample_event(name, self.model)
        if changes:
            event["body"] = json.dumps({**json.loads(event["body"]), **changes})
        return invoke(self.url, event)


@pytest.fixture(scope="module")
def emulator(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Function]:
    log = tmp_path_factory.mktemp("emulator") / "log"
    environment = deployment.environment(AWS_LAMBDA_FUNCTION_TIMEOUT="300")
    with emulated(deployment.command, environment, deployment.folder, log) as url:
        yield Function(url, log, deployment.model)


@pytest.fixture(scope="module")
def local(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Function]:
    """The function as `sam local invoke --env-vars infra/events/env.json` has it: no table is there."""
    folder = tmp_path_factory.mktemp("local")
    variables = {name: value.replace("/tmp", str(folder)) for name, value in local_variables().items()}
    environment = deployment.environment(
        AWS_LAMBDA_FUNCTION_TIMEOUT="300",
        DORMOUSE_TABLE="Table",
        DORMOUSE_DYNAMODB_ENDPOINT="http://127.0.0.1:9",  # nobody
        **variables,
    )
    with emulated(deployment.command, environment, deployment.folder, folder / "log") as url:
        yield Function(url, folder / "log", deployment.model)


@pytest.mark.parametrize("name", sample_names())
def test_every_sample_event_is_answered(local: Function, name: str) -> None:
    """With the variables that come with the events, without AWS, any of them gives status 200 and a body."""
    answer, body = local.sample(name)
    assert answer["statusCode"] == 200, body
    assert body


def test_a_chat_is_answered_and_reported(emulator: Function) -> None:
    """A recorded chat gets an assistant's message; the platform's START and REPORT lines frame it."""
    answer, body = emulator.sample("chat")
    assert answer["statusCode"] == 200
    message = json.loads(body)["choices"][0]["message"]
    assert message["role"] == "assistant"
    assert message["content"]
    log = emulator.log.read_text()
    assert re.search(r"^START RequestId: \S+ Version: ", log, re.MULTILINE)
    assert re.search(r"^REPORT RequestId: .*Duration: [\d.]+ ms", log, re.MULTILINE)
    assert "buffered, not streamed" not in log


def test_stream_and_whole_answer_say_the_same(emulator: Function) -> None:
    """The same greedy request, streamed and not: the same text."""
    _, whole = emulator.sample("chat")
    prelude, stream = emulator.sample("chat-stream")
    assert prelude["headers"]["Content-Type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in stream.split("\n\n") if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    said = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])
    assert said == json.loads(whole)["choices"][0]["message"]["content"]


def test_a_conversation_is_kept_in_dynamodb(emulator: Function, table: DynamoTable) -> None:
    """Two turns in one conversation: four items are read back, and rows lie in the table."""
    conversation = json.loads(emulator.sample("conversation-create", items=[])[1])["id"]
    for turn in ("My name is Tamsin.", "What is my name?"):
        _, body = emulator.sample("response", conversation=conversation, input=turn)
        assert json.loads(body)["conversation"]["id"] == conversation, body
    event = sample_event("conversations")
    event["path"] = f"/v1/conversations/{conversation}/items"
    event["queryStringParameters"] = event["multiValueQueryStringParameters"] = None
    _, listed = invoke(emulator.url, event)
    roles = [item["role"] for item in json.loads(listed)["data"]]
    assert sorted(roles) == ["assistant", "assistant", "user", "user"]
    assert table.client.scan(TableName=table.name, Select="COUNT")["Count"] >= 5


def test_a_wrong_request_is_an_error_with_its_prelude(emulator: Function) -> None:
    """On a streamed route an error comes as status, headers and body too, which is what the gateway reads."""
    prelude, body = emulator.sample("chat-stream", temperature=9)
    assert prelude["statusCode"] == 400
    assert json.loads(body)["error"]["param"] == "temperature"


def test_a_log_is_reported(emulator: Function) -> None:
    """What the emulator's log says is read: answers, invocations, no line malformed."""
    emulator.sample("chat")
    wait_until_s = time.monotonic() + 30
    while not (day := Day().read(emulator.log.read_text().splitlines())).invocations:
        assert time.monotonic() < wait_until_s
        time.sleep(0.05)
    found: Any = figures(day)
    assert found["answers"] >= 1
    assert found["lines"]["malformed"] == 0
    assert found["bill"]["gb_s"] > 0


REPORT = re.compile(
    r"^REPORT .*\tDuration: ([\d.]+) ms\tBilled Duration: (\d+) ms\tMemory Size: (\d+) MB", re.M
)
OVERHEAD_MS = 500
"""What the platform bills beside the handler: its runtime, the event in, the answer out; room for noise."""

BEFORE_OUR_CLOCK = 0.5
"""The interpreter and Lambda's client start before the first line of ours: at most so much of our own start,
which is slow when theirs is.
"""


def test_receipts_add_up_to_the_platforms_report(deployment: Deployment, tmp_path: Path) -> None:
    """No receipt says more than is billed, none much less; the memory is the platform's, the init is billed
    once.

    False alarm only where the machine stands still for half a second behind each of three cold starts.
    """
    assert any(billed_beside_ms(deployment, tmp_path) <= OVERHEAD_MS for _ in range(3))


def billed_beside_ms(deployment: Deployment, folder: Path) -> float:
    """The most that is billed of one of three answers and not in its receipt."""
    log = folder / "log"
    environment = deployment.environment(
        AWS_LAMBDA_FUNCTION_TIMEOUT="300", DORMOUSE_SESSIONS=str(folder / "sessions.sqlite3")
    )  # what counting in DynamoDB takes is billed after the receipt: up to half a second
    with emulated(deployment.command, environment, deployment.folder, log) as url:
        function = Function(url, log, deployment.model)
        receipts = [json.loads(function.sample("chat")[1])["dormouse"]["receipt"] for _ in range(3)]
        give_up_s = time.monotonic() + 60
        while len(reports := REPORT.findall(log.read_text())) < len(receipts):
            assert time.monotonic() < give_up_s, log.read_text()
            time.sleep(0.05)
    assert [receipt["cold"] for receipt in receipts] == [True, False, False]
    assert receipts[0]["init_ms"] > 0 == receipts[1]["init_ms"] == receipts[2]["init_ms"]
    beside_ms = []
    for receipt, (_, billed_ms, memory_mib) in zip(receipts, reports, strict=True):
        assert receipt["memory_mib"] == int(memory_mib)
        ours_ms = receipt["gb_s"] / (receipt["memory_mib"] / 1024) * 1000
        assert receipt["prefill_ms"] + receipt["decode_ms"] + receipt["init_ms"] <= ours_ms + 1
        assert ours_ms <= int(billed_ms), (receipt, billed_ms)
        beside_ms.append(int(billed_ms) - ours_ms - BEFORE_OUR_CLOCK * receipt["init_ms"])
    return max(beside_ms)
