"""The built stack, deployed by `sam deploy` to an AWS server on this machine, called with keys, taken down.

What that server cannot do is taken out or bridged here, and only that. It cannot stream, so the routes are
buffered and the runtime is started without its wrapper. It has no python3.13, so its Lambda hands each event
to the Runtime Interface Emulator, where the artifacts run with the deployed environment. It hands no
parameters to SAM's transform and has no CodeDeploy, so the rollout is off by its default. Of an API's
document it reads the routes and not the authorizers, so they are put in as the document has them. It runs
them, but knows neither usage plans nor gateway responses: where API Gateway would say 401 by the template,
it says 403.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shlex
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session
import openai
import pytest
import yaml

from handler.keys import Key, KeyRecord, new_key, parse_key
from infra.key_stores import DynamoKeys
from tests.dynamodb import CREDENTIALS, free_port, ministack
from tests.e2e.artifact.conftest import PYTHON313, Deployment
from tests.e2e.artifact.emulator import INVOCATIONS, emulated
from tests.stack import PROJECT, properties

SERVICES = "s3,dynamodb,lambda,iam,sts,logs,cloudformation,apigateway,monitoring"
STACK = "dormouse-test"
CLOUD = PROJECT / ".venv/cloud/bin"
PROCESS = """
import json, sys, types, yaml
from samtranslator.translator.transform import transform
print(json.dumps(transform(yaml.safe_load(sys.stdin), {}, types.SimpleNamespace(load=dict))))
"""


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
        command = [str(CLOUD / "sam"), *arguments, "--stack-name", STACK, "--region", "us-east-1"]
        done = subprocess.run(command, cwd=folder, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr

    @property
    def environment(self) -> dict[str, str]:
        """What points AWS's tools at this server."""
        return {**os.environ, **CREDENTIALS, "AWS_ENDPOINT_URL": self.url, "SAM_CLI_TELEMETRY": "0"}

    def keys(self, *arguments: str) -> str:
        """Run a command for keys, and return what it printed."""
        table = self.outputs()["KeysTable"]
        return self.shell(
            shlex.join([str(CLOUD / "python"), "-m", "infra.keys", "--table", table, *arguments])
        )

    def shell(self, line: str) -> str:
        """Run a line in the project's folder, and return what it printed."""
        done = subprocess.run(
            line, shell=True, cwd=PROJECT, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def function(self, name: str) -> Any:
        """The deployed configuration of a function of the stack."""
        stack = self.client("cloudformation")
        found = stack.describe_stack_resource(StackName=STACK, LogicalResourceId=name)
        physical = found["StackResourceDetail"]["PhysicalResourceId"]
        return self.client("lambda").get_function_configuration(FunctionName=physical)

    def authorize(self, api_id: str, document: dict[str, Any]) -> None:
        """Put an API's authorizer into its routes, as its document has it."""
        (scheme,) = (
            s for s in document["components"]["securitySchemes"].values() if s["name"] == "Authorization"
        )
        facts = scheme["x-amazon-apigateway-authorizer"]
        gateway = self.client("apigateway")
        arn = self.function("Authorizer")["FunctionArn"]
        made = gateway.create_authorizer(
            restApiId=api_id,
            name="Bearer",
            type=facts["type"].upper(),
            authorizerUri=f"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{arn}/invocations",
            identitySource="method.request.header.Authorization",
            identityValidationExpression=facts["identityValidationExpression"],
            authorizerResultTtlInSeconds=0,  # so that a test need not wait for a revocation
        )
        change = {"/authorizationType": "CUSTOM", "/authorizerId": made["id"]}
        for resource in gateway.get_resources(restApiId=api_id, embed=["methods"])["items"]:
            for method in resource.get("resourceMethods", {}):
                asked = document["paths"][resource["path"]][method.lower()].get("security", [])
                if any("Bearer" in each for each in asked):
                    gateway.update_method(
                        restApiId=api_id,
                        resourceId=resource["id"],
                        httpMethod=method,
                        patchOperations=[
                            {"op": "replace", "path": path, "value": value} for path, value in change.items()
                        ],
                    )

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


@dataclass(frozen=True)
class Deployed:
    """The stack as a caller sees it."""

    url: str
    cloud: Cloud

    def client(self, key: str) -> openai.OpenAI:
        """OpenAI's client with a key, as it sends every key."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0)


def localized(built: Path, ports: dict[str, int]) -> dict[str, Any]:
    """The built template for that server."""
    stack: dict[str, Any] = yaml.safe_load((built / "template.yaml").read_text())
    stack["Parameters"]["Rollout"]["Default"] = "off"
    for name, port in ports.items():
        facts = stack["Resources"][name]["Properties"]
        facts["CodeUri"] = str(built / name)
        facts["Environment"]["Variables"]["MINISTACK_LAMBDA_PROXY_URL"] = (
            f"http://127.0.0.1:{port}/{INVOCATIONS}"
        )
    for event in stack["Resources"]["Function"]["Properties"]["Events"].values():
        event["Properties"].pop("ResponseTransferMode", None)
    return stack


def api_document(stack: dict[str, Any]) -> dict[str, Any]:
    """The API's OpenAPI document, as SAM's transform writes it for a template whose code is uploaded."""
    stack = copy.deepcopy(stack)
    for name in ("Function", "Authorizer"):
        stack["Resources"][name]["Properties"]["CodeUri"] = "s3://artifacts/code"
    done = subprocess.run(
        [str(CLOUD / "python"), "-c", PROCESS],
        input=yaml.safe_dump(stack),
        env={**os.environ, **CREDENTIALS},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    body: dict[str, Any] = json.loads(done.stdout)["Resources"]["Api"]["Properties"]["Body"]
    return body


@pytest.fixture(scope="module")
def deployed(
    cloud: Cloud, deployment: Deployment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    """The deployed stack, both functions at work, and in the end taken down."""
    work = tmp_path_factory.mktemp("deploy")
    ports = {"Function": free_port(), "Authorizer": free_port()}
    built = deployment.folder.parent
    stack = localized(built, ports)
    (work / "template.yaml").write_text(yaml.safe_dump(stack))
    cloud.client("s3").create_bucket(Bucket="artifacts")
    how = ["--no-confirm-changeset", "--capabilities", "CAPABILITY_IAM", "--s3-bucket", "artifacts"]
    cloud.sam(work, "deploy", "--template", "template.yaml", *how, "--parameter-overrides", "Rollout=off")
    outputs = cloud.outputs()
    with ExitStack() as running:
        for name, port in ports.items():
            live = cloud.function(name)
            variables = {
                **live["Environment"]["Variables"],
                **({"DORMOUSE_DYNAMODB_ENDPOINT": cloud.url} if name == "Function" else {}),
                **({"KEYS_ENDPOINT": cloud.url} if name == "Authorizer" else {}),
            }
            command = [str(PYTHON313), "-m", "awslambdaric", properties(name)["Handler"]]
            environment = {
                **deployment.platform(
                    LAMBDA_TASK_ROOT=str(built / name), _HANDLER=properties(name)["Handler"]
                ),
                **variables,
                "AWS_LAMBDA_FUNCTION_TIMEOUT": str(live["Timeout"]),
            }
            running.enter_context(emulated(command, environment, built / name, work / name, port))
        api_id = outputs["BaseUrl"].removeprefix("https://").partition(".")[0]
        cloud.authorize(api_id, api_document(stack))
        yield Deployed(f"{cloud.url}/restapis/{api_id}/prod/_user_request_", cloud)
    cloud.take_down()


@pytest.fixture(scope="module")
def key(deployed: Deployed) -> str:
    """Alice's key, by the very command that the README gives."""
    text = (PROJECT / "README.md").read_text()
    (line,) = re.findall(r"^(\S+ -m infra\.keys --table .*issue .*?)\s+#", text, re.MULTILINE)
    return deployed.cloud.shell(line.replace("<KeysTable>", deployed.cloud.outputs()["KeysTable"]))


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


def test_a_key_opens_its_own_tenants_conversations(
    deployed: Deployed, client: openai.OpenAI, deployment: Deployment
) -> None:
    """What one tenant's key has made is not there for another's, whatever the request claims."""
    conversation = client.conversations.create()
    other = deployed.client(deployed.cloud.keys("issue", "--tenant", "bob"))
    claims = {"x-tenant": "alice", "tenant": "alice"}
    with pytest.raises(openai.NotFoundError):
        other.conversations.retrieve(conversation.id, extra_headers=claims)
    assert client.conversations.retrieve(conversation.id).id == conversation.id
    client.conversations.delete(conversation.id)


def test_wrong_keys_are_refused(deployed: Deployed, key: str) -> None:
    """No key, a foreign, a mistyped, an unknown, a wrong, an expired and a revoked one: none gets in."""
    good, ran_out = parse_key(key), new_key()
    table = DynamoKeys(
        deployed.cloud.outputs()["KeysTable"], region="us-east-1", endpoint_url=deployed.cloud.url
    )
    then = int(time.time()) - 60
    table.add(KeyRecord(ran_out.id, ran_out.sha256, "alice", then, expires_s=then + 30))
    revoked = deployed.cloud.keys("issue", "--tenant", "alice")
    assert not is_refused(deployed, revoked)
    deployed.cloud.keys("revoke", parse_key(revoked).id)
    wrong = Key(good.id, new_key().secret)
    mistyped = key[:-1] + ("0" if key[-1] != "0" else "1")
    for each in ("none", "sk-1234567890", mistyped, new_key().text, wrong.text, ran_out.text, revoked):
        assert is_refused(deployed, each)
    assert not is_refused(deployed, key)


def test_a_key_is_rotated_without_downtime(deployed: Deployed) -> None:
    """Before, during and after a rotation a key opens, and the old one goes on until its end."""
    old = deployed.cloud.keys("issue", "--tenant", "carol")
    assert not is_refused(deployed, old)
    new = deployed.cloud.keys("rotate", parse_key(old).id, "--grace-hours", "1")
    assert not is_refused(deployed, old)
    assert not is_refused(deployed, new)
    deployed.cloud.keys("revoke", parse_key(old).id)
    assert is_refused(deployed, old)
    assert not is_refused(deployed, new)


def test_the_page_opens_without_a_key(deployed: Deployed) -> None:
    """A browser gets the page, which then asks for a key."""
    with urllib.request.urlopen(f"{deployed.url}/", timeout=60) as reply:
        assert reply.status == 200
        assert "<title>" in reply.read().decode()
