"""The built stack, deployed by `sam deploy` to an AWS server on this machine, called with keys, taken down.

What that server cannot do is taken out or bridged by `local_cloud`.
"""

from __future__ import annotations

import shlex
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import openai
import pytest

from handler.keys import Key, KeyRecord, new_key, parse_key
from infra.key_stores import DynamoKeys
from tests.e2e.artifact.conftest import Deployment
from tests.e2e.artifact.local_cloud import CLOUD, Cloud, local_cloud
from tests.stack import PROJECT


@dataclass(frozen=True)
class Deployed:
    """The stack as a caller sees it."""

    cloud: Cloud
    outputs: dict[str, str]

    def client(self, key: str) -> openai.OpenAI:
        """OpenAI's client with a key, as it sends every key."""
        return openai.OpenAI(base_url=self.outputs["BaseUrl"], api_key=key, max_retries=0)

    def keys(self, *arguments: str) -> str:
        """Run a command for keys, and return what it printed."""
        return self._run(
            str(CLOUD / "python"), "-m", "infra.keys", "--table", self.outputs["KeysTable"], *arguments
        )

    def sam(self, *arguments: str) -> None:
        """Run a command of SAM's for this stack."""
        config = ["--config-file", str(PROJECT / "samconfig.toml")]
        self._run(str(CLOUD / "sam"), *arguments, *config, "--stack-name", self.cloud.stack)

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=PROJECT, env=self.cloud.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, shlex.join(command) + done.stdout[-4000:] + done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="module")
def deployed(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The deployed stack, both functions at work, and in the end taken down."""
    work = tmp_path_factory.mktemp("deploy")
    built = deployment.folder.parent
    with local_cloud("dormouse-test", work) as cloud:
        stack = Deployed(cloud, {})
        stack.sam("deploy", "--template", str(built / "template.yaml"), "--no-confirm-changeset")
        stack.outputs.update(cloud.outputs())
        with cloud.at_work(built, work):
            yield stack
        stack.sam("delete", "--no-prompts")


@pytest.fixture(scope="module")
def key(deployed: Deployed) -> str:
    """Alice's key."""
    return deployed.keys("issue", "--tenant", "alice")


@pytest.fixture
def client(deployed: Deployed, key: str) -> openai.OpenAI:
    return deployed.client(key)


def is_refused(deployed: Deployed, key: str) -> bool:
    try:
        deployed.client(key).models.list()
    except (openai.AuthenticationError, openai.PermissionDeniedError):
        return True
    return False


def test_the_deployed_stack_holds_a_conversation(
    client: openai.OpenAI, deployment: Deployment, deployed: Deployed
) -> None:
    """OpenAI's client talks to the REST endpoint, and the turns lie in the stack's own table."""
    assert [model.id for model in client.models.list().data] == [deployment.model]
    conversation = client.conversations.create()
    for turn in ("My name is Tamsin.", "What is my name?"):
        said = client.responses.create(
            model=deployment.model, conversation=conversation.id, input=turn, max_output_tokens=16
        )
        assert said.status in ("completed", "incomplete")  # a model of random weights may stop at once
    assert len(client.conversations.items.list(conversation.id).data) == 4
    rows = deployed.cloud.client("dynamodb").scan(TableName=deployed.outputs["TableName"], Select="COUNT")
    assert rows["Count"] >= 5
    client.conversations.delete(conversation.id)
    with pytest.raises(openai.NotFoundError):
        client.conversations.retrieve(conversation.id)


def test_the_deployed_stack_chats_and_refuses(client: openai.OpenAI, deployment: Deployment) -> None:
    """A chat is answered, as a stream in the same words; a wrong field is the client's own exception."""
    question: list[Any] = [{"role": "user", "content": "Hello!"}]
    asked: dict[str, Any] = {
        "model": deployment.model,
        "messages": question,
        "max_tokens": 16,
        "temperature": 0,
    }
    whole = client.chat.completions.create(**asked).choices[0].message.content
    chunks = client.chat.completions.create(**asked, stream=True)
    assert whole == "".join(each.choices[0].delta.content or "" for each in chunks if each.choices)
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**{**asked, "temperature": 9})
    assert refused.value.param == "temperature"


def test_a_key_opens_its_own_tenants_conversations(
    deployed: Deployed, client: openai.OpenAI, deployment: Deployment
) -> None:
    """What one tenant's key has made is not there for another's, whatever the request claims."""
    conversation = client.conversations.create()
    other = deployed.client(deployed.keys("issue", "--tenant", "bob"))
    claims = {"x-tenant": "alice", "tenant": "alice"}
    with pytest.raises(openai.NotFoundError):
        other.conversations.retrieve(conversation.id, extra_headers=claims)
    assert client.conversations.retrieve(conversation.id).id == conversation.id
    client.conversations.delete(conversation.id)


def test_wrong_keys_are_refused(deployed: Deployed, key: str) -> None:
    """No key, a foreign, a mistyped, an unknown, a wrong, an expired and a revoked one: none gets in."""
    good, ran_out = parse_key(key), new_key()
    table = DynamoKeys(deployed.outputs["KeysTable"], region="us-east-1", endpoint_url=deployed.cloud.url)
    then = int(time.time()) - 60
    table.add(KeyRecord(ran_out.id, ran_out.sha256, "alice", then, expires_s=then + 30))
    revoked = deployed.keys("issue", "--tenant", "alice")
    assert not is_refused(deployed, revoked)
    deployed.keys("revoke", parse_key(revoked).id)
    wrong = Key(good.id, new_key().secret)
    mistyped = key[:-1] + ("0" if key[-1] != "0" else "1")
    for each in ("none", "sk-1234567890", mistyped, new_key().text, wrong.text, ran_out.text, revoked):
        assert is_refused(deployed, each)
    assert not is_refused(deployed, key)


def test_a_key_is_rotated_without_downtime(deployed: Deployed) -> None:
    """Before, during and after a rotation a key opens, and the old one goes on until its end."""
    old = deployed.keys("issue", "--tenant", "carol")
    assert not is_refused(deployed, old)
    new = deployed.keys("rotate", parse_key(old).id, "--grace-hours", "1")
    assert not is_refused(deployed, old)
    assert not is_refused(deployed, new)
    deployed.keys("revoke", parse_key(old).id)
    assert is_refused(deployed, old)
    assert not is_refused(deployed, new)


def test_the_page_opens_without_a_key(deployed: Deployed) -> None:
    """A browser gets the page, which then asks for a key."""
    with urllib.request.urlopen(deployed.outputs["Page"], timeout=60) as reply:
        assert reply.status == 200
        assert "<title>" in reply.read().decode()


def test_a_stack_that_is_not_there_is_one_clear_line(deployed: Deployed) -> None:
    """Asked for the outputs of no stack, the command says so in a line and leaves nothing to a shell."""
    done = subprocess.run(
        [str(CLOUD / "python"), "-m", "infra.outputs", "no-such-stack"],
        cwd=PROJECT,
        env=deployed.cloud.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("outputs: the stack no-such-stack: ")
    assert len(done.stderr.splitlines()) == 1
