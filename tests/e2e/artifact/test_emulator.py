"""The artifact under the real Lambda Runtime Interface Emulator, called with recorded API Gateway events."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handler.sessions.dynamo_table import DynamoTable
from tests.dynamodb import free_port
from tests.e2e.artifact.conftest import Deployment
from tests.stack import sample_event, sample_names


class Emulator:
    """A function behind the emulator's own HTTP door."""

    def __init__(self, url: str, log: Path, model: str) -> None:
        self.url = url
        self.log = log
        self.model = model

    def invoke(self, event: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """Status and headers, and the body; the emulator gathers a stream before it hands it on."""
        request = urllib.request.Request(self.url, json.dumps(event).encode())
        with urllib.request.urlopen(request, timeout=120) as reply:
            answer: bytes = reply.read()
        head, streamed, body = answer.partition(b"\0" * 8)
        parsed: dict[str, Any] = json.loads(head)
        return parsed, body.decode() if streamed else parsed["body"]

    def sample(self, name: str, **changes: Any) -> tuple[dict[str, Any], str]:
        """Invoke with a sample event whose body has these changes."""
        event = sample_event(name, self.model)
        if changes:
            event["body"] = json.dumps({**json.loads(event["body"]), **changes})
        return self.invoke(event)


@pytest.fixture(scope="module")
def emulator(
    deployment: Deployment, emulator_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Emulator]:
    door, api = free_port(), free_port()
    log = tmp_path_factory.mktemp("emulator") / "log"
    addresses = [
        f"--runtime-interface-emulator-address=127.0.0.1:{door}",
        f"--runtime-api-address=127.0.0.1:{api}",
    ]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [emulator_binary, *addresses, *deployment.command],
            env=deployment.environment(AWS_LAMBDA_FUNCTION_TIMEOUT="300"),
            cwd=deployment.folder,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{door}"
    try:
        wait_until_it_listens(url, process, log)
        yield Emulator(f"{url}/2015-03-31/functions/function/invocations", log, deployment.model)
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_until_it_listens(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up_s = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < give_up_s, log.read_text()
            time.sleep(0.05)


@pytest.mark.parametrize("name", sample_names())
def test_every_sample_event_is_answered(emulator: Emulator, name: str) -> None:
    """`sam local invoke` with any of infra/events gives status 200 and a body."""
    answer, body = emulator.sample(name)
    assert answer["statusCode"] == 200, body
    assert body


def test_a_chat_is_answered_and_reported(emulator: Emulator) -> None:
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


def test_stream_and_whole_answer_say_the_same(emulator: Emulator) -> None:
    """The same greedy request, streamed and not: the same text."""
    _, whole = emulator.sample("chat")
    prelude, stream = emulator.sample("chat-stream")
    assert prelude["headers"]["Content-Type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in stream.split("\n\n") if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    said = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])
    assert said == json.loads(whole)["choices"][0]["message"]["content"]


def test_a_conversation_is_kept_in_dynamodb(emulator: Emulator, table: DynamoTable) -> None:
    """Two turns in one conversation: four items are read back, and rows lie in the table."""
    conversation = json.loads(emulator.sample("conversation-create", items=[])[1])["id"]
    for turn in ("My name is Tamsin.", "What is my name?"):
        _, body = emulator.sample("response", conversation=conversation, input=turn)
        assert json.loads(body)["conversation"]["id"] == conversation, body
    event = sample_event("conversations")
    event["path"] = f"/v1/conversations/{conversation}/items"
    event["queryStringParameters"] = event["multiValueQueryStringParameters"] = None
    _, listed = emulator.invoke(event)
    roles = [item["role"] for item in json.loads(listed)["data"]]
    assert sorted(roles) == ["assistant", "assistant", "user", "user"]
    assert table.client.scan(TableName=table.name, Select="COUNT")["Count"] >= 5


def test_a_wrong_request_is_an_error_with_its_prelude(emulator: Emulator) -> None:
    """On a streamed route an error comes as status, headers and body too, which is what the gateway reads."""
    prelude, body = emulator.sample("chat-stream", temperature=9)
    assert prelude["statusCode"] == 400
    assert json.loads(body)["error"]["param"] == "temperature"
