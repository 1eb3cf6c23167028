"""Each platform's contract with a container, over HTTP, held against the image's own entry point."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import openai
import pytest

from handler.keys import new_key
from tests.dynamodb import CREDENTIALS
from tests.e2e.artifact.emulator import emulated, invoke
from tests.e2e.image.conftest import Container, StartContainer
from tests.e2e.image.dockerfile import Image
from tests.stack import PROJECT, sample_event

JSON = {"Content-Type": "application/json"}


def call(
    container: Container, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """One request as a platform sends it."""
    connection = http.client.HTTPConnection("127.0.0.1", container.port, timeout=60)
    sent = None if body is None else json.dumps(body)
    connection.request(method, path, sent, {**(JSON if sent else {}), **headers})
    answer = connection.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def chat(model: str, **more: Any) -> dict[str, Any]:
    """The body of a chat completion."""
    asked = {"model": model, "messages": [{"role": "user", "content": "Who are you?"}], "temperature": 0}
    return {**asked, "max_tokens": 16, **more}


def content(body: bytes) -> str:
    """What a whole answer says."""
    said: str = json.loads(body)["choices"][0]["message"]["content"]
    return said


def streamed(body: bytes) -> str:
    """What a stream of server-sent events says, which has to end as one does."""
    events = [
        each.removeprefix("data: ") for each in body.decode().split("\n\n") if each.startswith("data: ")
    ]
    assert events.pop() == "[DONE]"
    choices = [choice for event in events for choice in json.loads(event)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def test_sagemaker(start_container: StartContainer, model: str) -> None:
    """Started with `serve`: /ping is 200, /invocations answers a chat, and streamed it is plain chunks."""
    container = start_container("serve", DORMOUSE_KEYS="platform")
    assert call(container, "GET", "/ping")[0] == 200
    status, headers, whole = call(container, "POST", "/invocations", chat(model))
    assert (status, headers["content-type"]) == (200, "application/json")
    status, headers, stream = call(container, "POST", "/invocations", chat(model, stream=True))
    assert (status, headers["transfer-encoding"]) == (200, "chunked")
    assert streamed(stream) == content(whole)
    status, _, refused = call(container, "POST", "/invocations", chat(model, temperature=9))
    assert (status, json.loads(refused)["error"]["param"]) == (400, "temperature")
    assert container.stop() == 0


def test_a_probe_does_not_wait_for_answers(start_container: StartContainer, model: str) -> None:
    """SageMaker takes a container for dead that needs two seconds for /ping, however much there is to do.

    False alarm only where the machine stands still for so long in three rounds of answers.
    """
    container = start_container("serve", DORMOUSE_KEYS="platform")

    def slowest_s() -> float:
        asked = [
            threading.Thread(
                target=call, args=(container, "POST", "/invocations", chat(model, max_tokens=400))
            )
            for _ in range(80)  # more than there are threads for requests
        ]
        for each in asked:
            each.start()
        found = 0.0
        while any(each.is_alive() for each in asked):
            began = time.monotonic()
            assert call(container, "GET", "/ping")[0] == 200
            found = max(found, time.monotonic() - began)
            time.sleep(0.05)
        return found

    assert any(slowest_s() < 2.0 for _ in range(3))


def test_cloud_run(start_container: StartContainer, model: str, tmp_path: Path) -> None:
    """On the port of PORT, with keys of our own: probes need none, clients do, and an OpenAI client works."""
    file = tmp_path / "keys.json"
    command = [sys.executable, "-m", "infra.keys", "--file", str(file), "issue", "--tenant", "alice"]
    key = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True).stdout.strip()
    container = start_container(K_SERVICE="dormouse", K_REVISION="dormouse-1", DORMOUSE_KEYS=str(file))
    assert call(container, "GET", "/ping")[0] == 200
    for path in ("/v1/chat/completions", "/invocations", "/score"):
        assert call(container, "POST", path, chat(model))[0] == 401
        assert call(container, "POST", path, chat(model), Authorization=f"Bearer {new_key().text}")[0] == 401
    client = openai.OpenAI(base_url=f"{container.url}/v1", api_key=key, max_retries=0)
    conversation = client.conversations.create()
    client.responses.create(model=model, conversation=conversation.id, input="Hi", max_output_tokens=8)
    assert len(client.conversations.items.list(conversation.id).data) == 2
    assert container.stop() == 0


def test_azure_ml(start_container: StartContainer, image: Image, model: str, tmp_path: Path) -> None:
    """/score answers a chat, by the model that Azure has mounted, a folder below AZUREML_MODEL_DIR."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model/smollm2").symlink_to(image.folder / "bundle")
    container = start_container(AZUREML_MODEL_DIR=str(tmp_path / "model"), DORMOUSE_KEYS="platform")
    assert call(container, "GET", "/ping")[0] == 200
    status, _, whole = call(container, "POST", "/score", chat(model))
    assert status == 200
    assert streamed(call(container, "POST", "/score", chat(model, stream=True))[2]) == content(whole)


def test_container_apps(start_container: StartContainer, image: Image, model: str) -> None:
    """Its probes find the server, as the image's own health check does; the whole API is there."""
    container = start_container(CONTAINER_APP_NAME="dormouse", DORMOUSE_KEYS="platform")
    assert call(container, "GET", "/ping")[0] == 200
    probe = subprocess.run(image.probe(), cwd=image.folder, env=container.environment, check=False)
    assert probe.returncode == 0
    assert call(container, "POST", "/v1/chat/completions", chat(model))[0] == 200
    assert container.stop() == 0
    probe = subprocess.run(image.probe(), cwd=image.folder, env=container.environment, check=False)
    assert probe.returncode == 1


@pytest.mark.parametrize("asked", [{}, {"stream": True}])
def test_lambda(image: Image, model: str, asked: dict[str, Any], tmp_path: Path) -> None:
    """In Lambda the same image takes its events from the Runtime API, and streams as the zip does."""
    environment = {
        **CREDENTIALS,
        **image.environment,
        "PATH": "/usr/bin:/bin",
        "AWS_REGION": "us-east-1",
        "DORMOUSE_BUNDLE": "bundle",  # as the template says it
        "AWS_LAMBDA_FUNCTION_NAME": "dormouse",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
        "DORMOUSE_SESSIONS": str(tmp_path / "sessions"),
    }
    event = {**sample_event("chat", model), "body": json.dumps(chat(model, **asked))}
    with emulated(image.command(), environment, image.folder, tmp_path / "log") as url:
        answer, body = invoke(url, event)
    assert answer["statusCode"] == 200, body
    assert (streamed if asked else content)(body.encode())
    assert "buffered, not streamed" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        ([], {}, "keys are asked for"),
        ([], {"DORMOUSE_KEYS": "platform"}, "none that is known"),
        ([], {"K_SERVICE": "dormouse"}, "keys are asked for"),
        (["serve"], {}, "DORMOUSE_KEYS=platform"),
        (["serve"], {"DORMOUSE_KEYS": "/secrets/keys.json"}, "no API key would arrive"),
        (["train"], {}, "'train'"),
        ([], {"PORT": "http"}, "PORT"),
    ],
)
def test_what_makes_no_sense_is_refused(
    image: Image, arguments: list[str], environment: dict[str, str], words: str
) -> None:
    """A container that would let in anybody, or nobody, does not start, and says why in one line."""
    run = subprocess.run(
        image.command(*arguments),
        cwd=image.folder,
        env={**image.environment, "PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 1
    assert len(run.stderr.splitlines()) == 1
    assert words in run.stderr
