"""An AWS server on this machine for the built stack, and what is done here in its place.

It cannot stream, so the routes are buffered. It has no python3.13, so its Lambda hands each event to the
Runtime Interface Emulator, where the artifacts run with the deployed environment and without the wrapper
that streams; their lines are put into the stack's log from there. It hands no parameters to SAM's
transform and has no CodeDeploy, so the rollout is off by its default. Of an API's document it reads the
routes and not the authorizers, so they are put in as the document has them. Its APIs have other addresses
than AWS's, and so has its DynamoDB. It runs authorizers, but knows neither usage plans nor gateway
responses: where API Gateway would say 401 by the template, it says 403. It deletes what a template asks
to be retained. An update makes a function anew, without its versions and aliases, so that a function is
asked for as it is last; that callers get another version is shown in tests/unit/infra/test_versions.py.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import botocore.session
import yaml

from tests.dynamodb import CREDENTIALS, free_port, ministack
from tests.e2e.artifact.aws_door import aws_door
from tests.e2e.artifact.conftest import PYTHON313, lambda_platform
from tests.e2e.artifact.emulator import INVOCATIONS, emulated
from tests.stack import PROJECT, properties
from tests.transform import FUNCTIONS, transformed

SERVICES = "s3,dynamodb,lambda,iam,sts,logs,cloudformation,apigateway,monitoring"
CLOUD = PROJECT / ".venv/cloud/bin"
LOGS = {"Function": "FunctionLog", "Authorizer": "AuthorizerLog"}


@dataclass(frozen=True)
class Cloud:
    """One stack on the AWS server, from its template to its functions at work."""

    url: str
    stack: str
    ports: Mapping[str, int] = field(default_factory=lambda: {name: free_port() for name in FUNCTIONS})

    @property
    def environment(self) -> dict[str, str]:
        """What points AWS's tools at this server."""
        return {**os.environ, **CREDENTIALS, "AWS_ENDPOINT_URL": self.url, "SAM_CLI_TELEMETRY": "0"}

    def client(self, service: str) -> Any:
        """A client of one service of the server."""
        return botocore.session.get_session().create_client(
            service,
            region_name="us-east-1",
            endpoint_url=self.url,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )

    def outputs(self) -> dict[str, str]:
        """What the deployed stack says of itself."""
        (stack,) = self.client("cloudformation").describe_stacks(StackName=self.stack)["Stacks"]
        assert stack["StackStatus"] in ("CREATE_COMPLETE", "UPDATE_COMPLETE")
        return {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}

    def localized(self, template: Mapping[str, Any]) -> dict[str, Any]:
        """A built template for this server."""
        stack = copy.deepcopy(dict(template))
        stack["Parameters"]["Rollout"]["Default"] = "off"
        endpoints = {"Function": "DORMOUSE_DYNAMODB_ENDPOINT", "Authorizer": "KEYS_ENDPOINT"}
        for name, port in self.ports.items():
            variables = stack["Resources"][name]["Properties"]["Environment"]["Variables"]
            variables["MINISTACK_LAMBDA_PROXY_URL"] = f"http://127.0.0.1:{port}/{INVOCATIONS}"
            variables[endpoints[name]] = self.url
        for event in stack["Resources"]["Function"]["Properties"]["Events"].values():
            event["Properties"].pop("ResponseTransferMode", None)
        address = self.url + "/restapis/${Api}/${Stage}/_user_request_/"
        stack["Outputs"]["Page"]["Value"] = {"Fn::Sub": address}
        stack["Outputs"]["BaseUrl"]["Value"] = {"Fn::Sub": address + "v1"}
        return stack

    @contextmanager
    def at_work(self, built: Path, work: Path) -> Iterator[None]:
        """Run a build's functions with the environment that was deployed, behind the API's authorizer."""
        with ExitStack() as running:
            for name, port in self.ports.items():
                deployed = self.function(name)
                handler = properties(name)["Handler"]
                environment = {
                    **lambda_platform(LAMBDA_TASK_ROOT=str(built / name), _HANDLER=handler),
                    **deployed["Environment"]["Variables"],
                    "AWS_LAMBDA_FUNCTION_TIMEOUT": str(deployed["Timeout"]),
                }
                command = [str(PYTHON313), "-m", "awslambdaric", handler]
                running.enter_context(emulated(command, environment, built / name, work / name, port))
            self._authorize(built)
            yield

    def publish_logs(self, work: Path) -> None:
        """Put what the functions have written so far into the stack's logs, as Lambda does."""
        logs = self.client("logs")
        for name, group in LOGS.items():
            where = {"logGroupName": self._physical(group), "logStreamName": f"emulator-{time.time_ns()}"}
            now_ms = int(time.time() * 1000)
            lines = [line for line in (work / name).read_text(errors="replace").splitlines() if line.strip()]
            logs.create_log_stream(**where)
            logs.put_log_events(**where, logEvents=[{"timestamp": now_ms, "message": each} for each in lines])

    def _physical(self, name: str) -> str:
        found = self.client("cloudformation").describe_stack_resource(
            StackName=self.stack, LogicalResourceId=name
        )
        return str(found["StackResourceDetail"]["PhysicalResourceId"])

    def function(self, name: str) -> Any:
        """The deployed configuration of a function."""
        return self.client("lambda").get_function_configuration(FunctionName=self._physical(name))

    def _authorize(self, built: Path) -> None:
        """Put the API's authorizer into its routes, as its document has it."""
        document = api_document(yaml.safe_load((built / "template.yaml").read_text()))
        (scheme,) = (
            s for s in document["components"]["securitySchemes"].values() if s["name"] == "Authorization"
        )
        facts = scheme["x-amazon-apigateway-authorizer"]
        gateway, api_id = self.client("apigateway"), self._physical("Api")
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
        patch = [{"op": "replace", "path": path, "value": value} for path, value in change.items()]
        for resource in gateway.get_resources(restApiId=api_id, embed=["methods"])["items"]:
            for method in resource.get("resourceMethods", {}):
                asked = document["paths"][resource["path"]][method.lower()].get("security", [])
                if any("Bearer" in each for each in asked):
                    gateway.update_method(
                        restApiId=api_id, resourceId=resource["id"], httpMethod=method, patchOperations=patch
                    )


@contextmanager
def local_cloud(stack: str, work: Path) -> Iterator[Cloud]:
    """Run the AWS server, its log in `work`, and the door that localizes what is deployed."""
    with ministack(work / "aws", SERVICES) as server:
        port = free_port()
        cloud = Cloud(f"http://127.0.0.1:{port}", stack)
        with aws_door(port, server, cloud.localized):
            yield cloud


def api_document(template: Mapping[str, Any]) -> dict[str, Any]:
    """The API's OpenAPI document, as SAM's transform writes it."""
    stack = copy.deepcopy(dict(template))
    stack["Parameters"]["Rollout"]["Default"] = "off"
    (made,) = transformed(stack, {})
    body: dict[str, Any] = made["Resources"]["Api"]["Properties"]["Body"]
    return body
