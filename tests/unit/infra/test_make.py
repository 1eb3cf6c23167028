"""The commands that deploy, read without being run: what they hand to SAM."""

from __future__ import annotations

import json
import os
import shlex
import subprocess

import pytest

from tests.stack import PROJECT, template

READ_BY_SAM = """
import json, sys
from samcli.cli.types import CfnParameterOverridesType
print(json.dumps(CfnParameterOverridesType().convert(tuple(sys.argv[1:]), None, None)))
"""


def dry(*words: str) -> list[str]:
    """What this `make` would run; the stack that is there, if any, is one for arm64."""
    said = {"ARCH", "BUNDLE", "STACK", "PARAMETERS", "MAKEFLAGS"}  # of whoever runs the tests
    environment = {name: value for name, value in os.environ.items() if name not in said}
    command = ["make", "--dry-run", "STACK_ARCH=arm64", *words]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def commands(*words: str) -> list[list[str]]:
    """SAM's commands among it, as words."""
    return [shlex.split(line) for line in dry(*words) if "bin/sam " in line]


def parameters(command: list[str]) -> dict[str, str]:
    """The stack's parameters of a command, as SAM itself reads them."""
    given = command[command.index("--parameter-overrides") + 1 :]
    read = subprocess.run(
        [PROJECT / ".venv/cloud/bin/python", "-c", READ_BY_SAM, *given],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, str] = json.loads(read.stdout)
    return found


@pytest.mark.parametrize("target", [["deploy"], ["deploy-image", "IMAGE=registry/dormouse:1"]])
def test_a_rollout_at_once_is_asked_for_each_time(target: list[str]) -> None:
    """The canary is named in every deployment, and what PARAMETERS names comes after it and holds."""
    ordinary = parameters(commands(*target, "STACK=s")[-1])
    assert ordinary["Rollout"] == template()["Parameters"]["Rollout"]["Default"]
    at_once = parameters(commands(*target, "STACK=s", "PARAMETERS=MemoryMib=1769 Rollout=off")[-1])
    assert (at_once["Rollout"], at_once["MemoryMib"]) == ("off", "1769")


@pytest.mark.parametrize(
    ("words", "arch"),
    [
        (["STACK=s"], "arm64"),
        (["STACK=s", "ARCH=x86_64"], "x86_64"),
        ([], "x86_64"),
        (["ARCH=arm64"], "arm64"),
    ],
)
def test_a_stack_is_built_for_what_it_runs_on(words: list[str], arch: str) -> None:
    """Without ARCH= a stack keeps its own; what is built and what is deployed are for the same."""
    build, deploy = commands("deploy", *words)
    assert parameters(build)["Architecture"] == parameters(deploy)["Architecture"] == arch
    assert f"ARCH={arch}" in build  # what `sam build` hands to infra.artifact


def test_an_image_says_itself_what_it_runs_on() -> None:
    """Nothing is said of the instruction set of a stack that has one, unless ARCH= does."""
    image = ("deploy-image", "IMAGE=registry/dormouse:1", "STACK=s")
    assert "Architecture" not in parameters(commands(*image)[-1])
    assert parameters(commands(*image, "ARCH=arm64")[-1])["Architecture"] == "arm64"


def test_the_model_that_goes_in_unnamed_is_told() -> None:
    """Before a deployment is asked for, a line says which bundle is in the zip, unless BUNDLE= did."""
    note = 'echo "make deploy: the model in the zip is now models/house/bundle; BUNDLE= names another" >&2'
    assert note in dry("deploy", "STACK=s")
    assert not any("BUNDLE= names" in line for line in dry("deploy", "STACK=s", "BUNDLE=build/mine"))
