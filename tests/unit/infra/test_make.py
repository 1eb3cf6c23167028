"""The commands that deploy, read without being run: what they hand to SAM."""

from __future__ import annotations

import json
import shlex
import subprocess

import pytest

from tests.stack import PROJECT, template

READ_BY_SAM = """
import json, sys
from samcli.cli.types import CfnParameterOverridesType
print(json.dumps(CfnParameterOverridesType().convert(tuple(sys.argv[1:]), None, None)))
"""


def commands(*words: str) -> list[list[str]]:
    """What this `make` would run of SAM's commands, as words."""
    done = subprocess.run(
        ["make", "--dry-run", *words], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    return [shlex.split(line) for line in done.stdout.splitlines() if "bin/sam " in line]


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
