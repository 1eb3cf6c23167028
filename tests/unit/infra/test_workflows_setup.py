"""The page on delivery by GitHub: what it has one set up is what the workflows and the stack ask for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
import yaml

from tests.stack import PROJECT, template

PAGE = (PROJECT / "docs/deploy/github.md").read_text()
WORKFLOWS = {path.stem: path.read_text() for path in (PROJECT / ".github/workflows").glob("*.yml")}
TRUST, RIGHTS = (
    json.loads(block)["Statement"]
    for block in re.findall(r"^```json\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
)
INLINE_LIMIT_CHARACTERS = 10_240
"""Of a role's own policies. Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html"""

SERVICES = {"serverless": {"apigateway", "codedeploy", "lambda"}}
"""What a resource of the transform becomes; the others are of the service that their type names."""


def actions() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """What the role may do: (service, operation, the statement that says so)."""
    for statement in RIGHTS:
        allowed = statement["Action"]
        for action in [allowed] if isinstance(allowed, str) else allowed:
            service, _, operation = action.partition(":")
            yield service, operation, statement


def test_environments_have_what_the_workflows_read() -> None:
    """The page's variables and secrets are those of the workflows, in its table and in its commands."""
    text = "".join(WORKFLOWS.values())
    read = {
        *(("variable", name) for name in re.findall(r"\bvars\.(\w+)", text)),
        *(("secret", name) for name in re.findall(r"\bsecrets\.(\w+)", text)),
    }
    assert set(re.findall(r"^\| (variable|secret) `(\w+)`", PAGE, re.MULTILINE)) == read
    assert set(re.findall(r"gh (variable|secret) set (\w+) --env dev", PAGE)) == read


def test_the_roles_trust_the_environments_of_the_workflows() -> None:
    """Each subject ends with an environment that a rollout names, and a token is meant for AWS."""
    jobs = yaml.safe_load(WORKFLOWS["deploy"])["jobs"].values()
    environments = {job["with"]["environment"] for job in jobs if "environment" in job.get("with", {})}
    assert environments == {"dev", "prod"}
    (statement,) = TRUST
    (condition,) = statement["Condition"].values()
    subject = condition["token.actions.githubusercontent.com:sub"]
    assert subject.endswith(":environment:dev")
    assert "`environment:prod`" in PAGE
    assert condition["token.actions.githubusercontent.com:aud"] == "sts.amazonaws.com"


def test_the_role_reaches_every_service_of_the_stack() -> None:
    """Every kind of resource that the template makes by default belongs to a service of the role's rights."""
    made = {each["Type"] for each in template()["Resources"].values() if not _off(each)}
    needed = set()
    for kind in made:
        service = kind.split("::")[1].lower()
        needed |= SERVICES.get(service, {service})
    assert needed | {"cloudformation", "s3"} == {service for service, _, _ in actions()}


def test_the_rights_exist_and_fit_a_role() -> None:
    """Every action is an operation of its service, and all of them fit into the policy of one role."""
    session = botocore.session.get_session()
    for service, operation, _ in actions():
        if service not in ("apigateway", "s3") and operation != "PassRole":  # named otherwise than operations
            assert operation in session.get_service_model(service).operation_names, f"{service}:{operation}"
    assert len(json.dumps(RIGHTS, separators=(",", ":"))) < INLINE_LIMIT_CHARACTERS


def test_the_rights_end_at_the_stack() -> None:
    """No action is a pattern, no conversation can be read, and functions, roles and tables are those of the
    stack's name."""
    for service, operation, statement in actions():
        assert "*" not in operation
        assert not (service == "dynamodb" and re.search("Item|Query|Scan", operation))
        if service in ("dynamodb", "iam", "lambda"):
            assert "dormouse-dev-" in statement["Resource"]


def test_the_role_cannot_change_itself() -> None:
    """Its own name is none that it may change."""
    (name,) = set(re.findall(r"--role-name (\S+)", PAGE))
    assert not name.startswith("dormouse-dev")


@pytest.mark.parametrize("command", re.findall(r"gh workflow run (.*)", PAGE))
def test_workflows_are_started_with_inputs_they_have(command: str) -> None:
    """Each workflow that a command starts takes its inputs, and gets those it requires."""
    name, _, given = command.partition(".yml")
    inputs = yaml.safe_load(WORKFLOWS[name])[True]["workflow_dispatch"]["inputs"]  # `on` is YAML 1.1's true
    named = set(re.findall(r"-f (\w+)=", given))
    assert {key for key, each in inputs.items() if each.get("required")} <= named <= set(inputs)


def _off(resource: dict[str, Any]) -> bool:
    """Whether a resource is made only where a parameter asks for it that does not by default."""
    return resource.get("Condition") in ("HasFunctionUrl", "HasWaf", "HasCustomerKey")
