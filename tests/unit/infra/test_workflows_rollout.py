"""The steps of a rollout, run as they stand in a folder whose `aws`, `sam` and smoke test are scripts.

The `aws` there answers a query from a stack's description with the JMESPath that the real one has.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.stack import PROJECT

STEPS: dict[str, dict[str, Any]] = {
    step["name"]: step
    for step in yaml.safe_load((PROJECT / ".github/workflows/rollout.yml").read_text())["jobs"]["rollout"][
        "steps"
    ]
    if "name" in step
}
URL = "https://api.example/prod/v1"
PARAMETERS = {
    "Architecture": "x86_64",
    "AlarmTopic": "",
    "Rollout": "Canary10Percent5Minutes",
    "BundleLocation": "s3://b/x/1",
}
STACK = {
    "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in PARAMETERS.items()],
    "Outputs": [
        {"OutputKey": "BaseUrl", "OutputValue": URL},
        {"OutputKey": "KeysTable", "OutputValue": "s-Keys-1"},
    ],
}
AWS = """
import json, pathlib, sys
import jmespath
refused = pathlib.Path("refused-by-aws.txt")
if refused.exists():
    sys.exit(refused.read_text())
if "get-template" in sys.argv:
    answer = {"TemplateBody": "Resources: {}"}
else:
    answer = {"Stacks": [json.loads(pathlib.Path("stack.json").read_text())]}
found = jmespath.search(sys.argv[sys.argv.index("--query") + 1], answer)
print("\\t".join(found) if isinstance(found, list) else found)
"""


@dataclass(frozen=True)
class Runner:
    """A folder in which steps run, and what they leave there."""

    folder: Path

    def run(self, name: str, **variables: str) -> int:
        """The status of a step, run by the shell that GitHub has for it."""
        environment = {
            "PATH": f"{self.folder}:/usr/bin:/bin",
            "STACK": "s",
            "BUNDLE": "",
            "SMOKE_KEY": "dm-1",
            "GITHUB_OUTPUT": str(self.folder / "outputs"),
            "GITHUB_STEP_SUMMARY": str(self.folder / "summary"),
        }
        command = ["bash", "-e", "-c", STEPS[name]["run"]]
        return subprocess.run(command, cwd=self.folder, env=environment | variables, timeout=60).returncode

    def text(self, name: str) -> str:
        """What a file holds; nothing where there is none."""
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    def outputs(self) -> dict[str, str]:
        """What the steps have handed on."""
        return dict(line.split("=", 1) for line in self.text("outputs").splitlines())

    def asked(self) -> list[str]:
        """The smoke tests that were made, by their arguments."""
        return self.text("asked.txt").splitlines()


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """There is a sound stack."""
    (tmp_path / "stack.json").write_text(json.dumps(STACK))
    (tmp_path / "aws.py").write_text(AWS)
    scripts = {
        "aws": f'exec {sys.executable} aws.py "$@"',
        ".venv/cloud/bin/sam": "printf '%s\\n' \"$@\" > deployed.txt",
        ".venv/clients/bin/python": 'echo "$@" >> asked.txt; test ! -e unsound',
    }
    for name, text in scripts.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    return Runner(tmp_path)


def test_what_there_is_is_noted(runner: Runner) -> None:
    """Address, template and parameters of before are kept; not how they were rolled out, nor what is empty,
    which no command line can say."""
    assert runner.run("Note what there is") == 0
    assert runner.outputs() == {
        "url": URL,
        "bundle": "s3://b/x/1",
        "parameters": "Architecture=x86_64 BundleLocation=s3://b/x/1",
    }
    assert runner.text("before.yaml") == "Resources: {}\n"
    assert "`s3://b/x/1`, asked for: `no other`" in runner.text("summary")


def test_what_cannot_be_asked_is_not_deployed_over(runner: Runner) -> None:
    """Where there is a stack and no key to ask it with, a rollout ends before it has changed anything; the
    way back to an earlier run stays open."""
    assert runner.run("Note what there is", SMOKE_KEY="") != 0
    assert runner.outputs() == {}
    assert runner.run("Note what there is", SMOKE_KEY="", EARLIER="17") == 0
    names = list(STEPS)
    assert names.index("Note what there is") < names.index("Deploy")


@pytest.mark.parametrize(
    ("refused", "goes_on"),
    [("Stack with id s does not exist", True), ("User is not authorized to perform DescribeStacks", False)],
)
def test_a_first_rollout_has_nothing_to_go_back_to(runner: Runner, refused: str, goes_on: bool) -> None:
    """A stack that is not there is made; one that cannot be read is no stack that is not there."""
    (runner.folder / "refused-by-aws.txt").write_text(refused)
    assert (runner.run("Note what there is", SMOKE_KEY="") == 0) is goes_on
    assert runner.outputs() == {}


def test_a_first_rollout_says_how_to_make_the_key(runner: Runner) -> None:
    """The table of keys is there only now: the summary has the command with its name, and the job fails."""
    assert runner.run("Ask it", SMOKE_KEY="") != 0
    assert "infra.keys --table s-Keys-1 issue --tenant smoke" in runner.text("summary")
    assert runner.asked() == []


def test_what_there_is_then_is_asked(runner: Runner) -> None:
    """The smoke test of the stack's address decides whether the rollout has succeeded."""
    assert runner.run("Ask it") == 0
    (runner.folder / "unsound").touch()
    assert runner.run("Ask it") != 0
    assert runner.asked() == [f"-m infra.smoke {URL}"] * 2


def test_it_is_asked_on_until_the_deployment_ends(runner: Runner) -> None:
    """Smoke tests go on beside the deployment, failed ones too, and have ended when it is asked for good."""
    (runner.folder / "unsound").touch()
    assert runner.run("Ask on meanwhile", URL=URL, PAUSE_S="0.05") == 0
    subprocess.run(
        ["bash", "-c", "until [ $(wc -l < asked.txt) -ge 3 ]; do sleep 0.05; done"],
        cwd=runner.folder,
        timeout=30,
    )
    assert runner.run("Ask no longer") == 0
    asked = runner.asked()
    assert len(asked) >= 3
    subprocess.run(["sleep", "0.3"], check=True)
    assert runner.asked() == asked
    assert re.search(r"^timeout \d+m ", STEPS["Ask on meanwhile"]["run"])  # and ends without being told


def test_going_back_deploys_what_was_noted(runner: Runner) -> None:
    """The template of before with the parameters of before, at once; then it is asked again."""
    runner.run("Note what there is")
    noted = runner.outputs()
    assert runner.run("Go back", URL=noted["url"], PARAMETERS=noted["parameters"]) == 0
    words = runner.text("deployed.txt").splitlines()
    assert words[words.index("--template") + 1] == "before.yaml"
    assert words[words.index("--config-file") + 1] == str(runner.folder / "samconfig.toml")
    assert words[words.index("--parameter-overrides") + 1 :] == [
        "Rollout=off",
        "Architecture=x86_64",
        "BundleLocation=s3://b/x/1",
    ]
    assert runner.asked() == [f"-m infra.smoke {URL}"]


def test_the_way_back_by_hand_is_spelled_out(runner: Runner) -> None:
    """The summary has the command that starts the workflow, with its inputs and the model of before."""
    assert runner.run("Say how to go back", ENVIRONMENT="prod", BUNDLE="s3://b/x/1") == 0
    command = re.search(r"gh workflow run (\S+) (.*)", runner.text("summary"))
    assert command
    workflow = yaml.safe_load((PROJECT / ".github/workflows" / command[1]).read_text())
    given = dict(re.findall(r"-f (\w+)=(\S+)", command[2]))
    assert given.keys() == workflow[True]["workflow_dispatch"]["inputs"].keys()
    assert given["environment"] == "prod"
    assert given["bundle"] == "s3://b/x/1"


@pytest.mark.parametrize(
    ("facts", "steps"),
    [
        ({}, {"Ask it"}),
        ({"deploy": "failure"}, set()),
        ({"asked": "failure"}, {"Ask it", "Go back"}),
        ({"asked": "failure", "back": "failure"}, {"Ask it", "Go back", "Say how to go back"}),
        ({"asked": "failure", "sound": "failure"}, {"Ask it", "Say how to go back"}),
        ({"asked": "failure", "sound": "skipped"}, {"Ask it", "Say how to go back"}),  # a rollback
        ({"asked": "failure", "sound": "skipped", "url": ""}, {"Ask it"}),  # a first rollout
    ],
)
def test_the_way_back_is_taken_when_it_leads_somewhere(facts: dict[str, str], steps: set[str]) -> None:
    """Only a deployment that succeeded and is unsound is gone back from, by itself only to what was sound;
    whatever remains unsound says how."""
    outcomes = {"deploy": "success", "sound": "success", "asked": "success", "url": URL} | facts
    outcomes.setdefault("back", "success" if outcomes["asked"] == "failure" else "skipped")
    failed, ran = False, set()
    for name in ("Deploy", "Ask it", "Go back", "Say how to go back"):
        if _holds(STEPS[name].get("if", "success()"), outcomes, failed):
            ran.add(name)
            failed |= outcomes.get(STEPS[name].get("id", ""), "") == "failure"
        elif name == "Go back":
            outcomes["back"] = "skipped"
    assert ran - {"Deploy"} == steps


def _holds(condition: str, outcomes: Mapping[str, str], failed: bool) -> bool:
    """A condition of these steps: terms joined by `and`, each a status or a comparison."""
    for term in condition.split("&&"):
        found = re.fullmatch(
            r"(?:steps\.)?(\w+)(?:\.outcome|\.outputs\.url|\(\))(?: (==|!=) '(\w+)')?", term.strip()
        )
        assert found, term
        name, operator, value = found.groups()
        if name in ("failure", "success"):
            holds = failed is (name == "failure")
        elif operator:
            holds = (outcomes[name] == value) is (operator == "==")
        else:
            holds = bool(outcomes["url"])
        if not holds:
            return False
    return True
