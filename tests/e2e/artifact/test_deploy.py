"""The built stack, deployed by `sam deploy` to an AWS server on this machine, called, and taken down.

What that server cannot do is taken out or bridged here, and only that. It cannot stream, so the routes are
buffered and the runtime is started without its wrapper. It has no python3.13, so its Lambda hands each event
to the Runtime Interface Emulator, where the artifact runs with the deployed environment. It asks for no key.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session
import openai
import pytest
import yaml

from tests.dynamodb import CREDENTIALS, free_port, ministack
from tests.e2e.artifact.conftest import PYTHON313, Deployment
from tests.e2e.artifact.emulator import INVOCATIONS, emulated
from tests.stack import PROJECT, properties

SERVICES = "s3,dynamodb,lambda,iam,sts,logs,cloudformation,apigateway"
STACK = "dormouse-test"


@dataclass(frozen=True)
class Cloud:
    """The AWS server, and SAM's command line pointed at it."""

    url: str

    def client(self, service: str) -> Any:
        return botocore.session.get_session().create_client(
            service,
            region_name="us-east-1",
            endpoint_url=self.url,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )

    def sam(self, folder: Path, *arguments: str) -> None:
        environment = {**os.environ, **CREDENTIALS, "AWS_ENDPOINT_URL": self.url, "SAM_CLI_TELEMETRY": "0"}
        command = [
            str(PROJECT / ".venv/cloud/bin/sam"),
            *arguments,
            "--stack-name",
            STACK,
            "--region",
            "us-east-1",
        ]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr

    def outputs(self) -> dict[str, str]:
        (stack,) = self.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
        assert stack["StackStatus"] == "CREATE_COMPLETE"
        return {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}

    def take_down(self) -> None:
        """Delete the stack; `sam delete` wants a field of it that this server does not give."""
        cloudformation = self.client("cloudformation")
        cloudformation.delete_stack(StackName=STACK)
        cloudformation.get_waiter("stack_delete_complete").wait(StackName=STACK)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with ministack(tmp_path_factory.mktemp("cloud") / "log", SERVICES) as url:
        yield Cloud(url)


@pytest.fixture(scope="module")
def deployed(cloud: Cloud, deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of the deployed API."""
    work = tmp_path_factory.mktemp("deploy")
    port = free_port()
    stack = yaml.safe_load((deployment.folder.parent / "template.yaml").read_text())
    facts = stack["Resources"]["Function"]["Properties"]
    facts["CodeUri"] = str(deployment.folder)
    facts["Environment"]["Variables"]["MINISTACK_LAMBDA_PROXY_URL"] = f"http://127.0.0.1:{port}/{INVOCATIONS}"
    for event in facts["Events"].values():
        event["Properties"].pop("ResponseTransferMode", None)
    (work / "template.yaml").write_text(yaml.safe_dump(stack))
    cloud.client("s3").create_bucket(Bucket="artifacts")
    how = ["--no-confirm-changeset", "--capabilities", "CAPABILITY_IAM", "--s3-bucket", "artifacts"]
    cloud.sam(work, "deploy", "--template", "template.yaml", *how)
    outputs = cloud.outputs()
    live = cloud.client("lambda").get_function_configuration(FunctionName=outputs["FunctionAlias"])
    variables = {**live["Environment"]["Variables"], "DORMOUSE_DYNAMODB_ENDPOINT": cloud.url}
    assert variables["DORMOUSE_TABLE"] == outputs["TableName"]
    command = [str(PYTHON313), "-m", "awslambdaric", properties("Function")["Handler"]]
    environment = {**deployment.environment(AWS_LAMBDA_FUNCTION_TIMEOUT=str(live["Timeout"])), **variables}
    with emulated(command, environment, deployment.folder, work / "log", port):
        api_id = outputs["BaseUrl"].removeprefix("https://").partition(".")[0]
        yield f"{cloud.url}/restapis/{api_id}/prod/_user_request_/v1"
    cloud.take_down()


@pytest.fixture
def client(deployed: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=deployed, api_key="not asked for here", max_retries=0)


def test_the_deployed_stack_holds_a_conversation(
    client: openai.OpenAI, deployment: Deployment, cloud: Cloud
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
    rows = cloud.client("dynamodb").scan(TableName=cloud.outputs()["TableName"], Select="COUNT")
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
