"""Callers reach a published version: what a parameter changes has to come to them as another one."""

from __future__ import annotations

import functools
import json
import re
import subprocess
from string import Template
from typing import Any

import pytest

from handler.settings import read_settings, variables
from infra.image.template import image_template
from tests.stack import PROJECT, function_environment, parsed
from tests.transform import transformed

NOT_IN_A_VERSION = {
    "AutoPublishAlias",
    "AutoPublishAliasAllProperties",
    "DeploymentPreference",
    "Events",
    "ReservedConcurrentExecutions",  # the function's, whichever version answers
    "RuntimeManagementConfig",
    "VersionDeletionPolicy",
    "VersionDescription",
}
CODE = {"ImageUri"}
"""Whose value SAM itself puts into the version's name."""

ROOM = 256
MARGIN = 20
"""For numbers that somebody writes longer than they are."""

OTHERS = {
    "Architecture": "arm64",
    "BundleLocation": "s3://models/bundles/tiny/0123",
    "DailyTokens": "5",
    "Exact": "off",
    "MemoryMib": "3538",
    "SessionTtlDays": "5",
    "SnapStart": "off",
    "Tracing": "Active",
}
"""A value that is no default for each parameter that a version holds."""

PRICE = "DORMOUSE_PRICE_GB_S_USD"
"""It follows the instruction set."""

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/dormouse"
SCHEMA = """
import json
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER
print(json.dumps(PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", "AWS::Lambda::Version").schema))
"""

packages = pytest.mark.parametrize("package", ["zip", "image"])


@functools.cache
def stack(package: str) -> dict[str, Any]:
    """The template of a zip, or the one of an image."""
    text = (PROJECT / "template.yaml").read_text()
    return parsed(text if package == "zip" else image_template(text))


def reached(package: str, value: Any) -> set[str]:
    """The parameters that a value depends on, by itself or by conditions."""
    parameters, conditions = stack(package)["Parameters"], stack(package)["Conditions"]
    if isinstance(value, list):
        return set().union(*(reached(package, each) for each in value))
    if not isinstance(value, dict):
        return set()
    found = reached(package, list(value.values()))
    if "Ref" in value:
        found |= {value["Ref"]} & set(parameters)
    if "Fn::If" in value:
        found |= reached(package, conditions[value["Fn::If"][0]])
    if "Fn::Sub" in value:
        found |= set(re.findall(r"\$\{(\w+)\}", str(value["Fn::Sub"]))) & set(parameters)
    return found


def described(package: str) -> str:
    """The description of a version, its values still to be put in."""
    text: str = stack(package)["Resources"]["Function"]["Properties"]["VersionDescription"]["Fn::Sub"]
    return text


def versions(package: str, *each: dict[str, str]) -> list[tuple[str, str]]:
    """The version that a stack has with each of these values: its name in the stack, and its description."""
    parameters = stack(package)["Parameters"]
    defaults = {name: str(facts.get("Default", f"{IMAGE}:1")) for name, facts in parameters.items()}
    values = [{**defaults, "Rollout": "off", **given} for given in each]
    return [
        (name, Template(facts["Description"]["Fn::Sub"]).substitute(known))
        for known, made in zip(values, transformed(stack(package), *values), strict=True)
        for name, facts in published(made).items()
    ]


def published(made: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The properties of a transformed stack's versions."""
    return {
        name: each["Properties"]
        for name, each in made["Resources"].items()
        if each["Type"] == "AWS::Lambda::Version"
    }


@packages
def test_what_a_version_holds_stands_in_its_description(package: str) -> None:
    """Every parameter that it depends on, and no other: Lambda refuses to publish the same a second time."""
    facts = stack(package)["Resources"]["Function"]["Properties"]
    held = reached(package, [each for name, each in facts.items() if name not in NOT_IN_A_VERSION]) - CODE
    assert reached(package, {"Fn::Sub": described(package)}) == held
    assert held == set(OTHERS) - ({"SnapStart"} if package == "image" else set())


@packages
def test_another_value_is_another_version(package: str) -> None:
    """For each of these parameters; the same values, and one that no version holds, are the same version."""
    others = [{name: value} for name, value in OTHERS.items() if name in stack(package)["Parameters"]]
    before, same, *after = versions(package, {}, {"MaxConcurrency": "5", "Waf": "on"}, *others)
    assert same == before
    assert len({before, *after}) == 1 + len(others)


def test_another_image_is_another_version() -> None:
    """Its name in the stack is made of the image's own."""
    (before, _), (after, _) = versions("image", {}, {"ImageUri": f"{IMAGE}:2"})
    assert before != after


def test_another_description_replaces_a_version() -> None:
    """CloudFormation's schema has no other way: the new one is made before the alias moves, the old one is
    deleted after, as when the code changes."""
    asked = [PROJECT / ".venv/cloud/bin/python", "-c", SCHEMA]
    schema = json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
    assert "/properties/Description" in schema["createOnlyProperties"]
    assert schema["properties"]["Description"]["maxLength"] == ROOM
    (made,) = transformed(stack("zip"), {"Rollout": "off"})
    ((name, _),) = published(made).items()
    kept = made["Resources"][name]
    assert (kept["DeletionPolicy"], kept.get("UpdateReplacePolicy", "Delete")) == ("Delete", "Delete")
    alias = made["Resources"]["FunctionAliaslive"]["Properties"]
    assert alias["FunctionVersion"] == {"Fn::GetAtt": [name, "Version"]}


@packages
def test_a_description_has_room_for_the_longest_values(package: str) -> None:
    """Whatever the parameters allow, it stays within what Lambda takes."""

    def longest(name: str) -> int:
        facts = stack(package)["Parameters"][name]
        if "AllowedValues" in facts:
            return max(map(len, facts["AllowedValues"]))
        return int(facts["MaxLength"]) if "MaxLength" in facts else len(str(facts["MaxValue"]))

    text = re.sub(r"\$\{(\w+)\}", lambda found: "x" * longest(found[1]), described(package))
    assert len(text) <= ROOM - MARGIN


@pytest.mark.parametrize(("given", "is_exact"), [({}, True), ({"Exact": "off"}, False)])
def test_exactness_is_a_parameter(given: dict[str, str], is_exact: bool) -> None:
    """The function is exact unless the stack says otherwise."""
    assert read_settings(function_environment({"Table": "t", **given})).exact is is_exact


def test_what_the_stack_fixes_is_told() -> None:
    """Both READMEs name the parameter of each setting that has one, and say that the others stand fixed."""
    given = stack("zip")["Resources"]["Function"]["Properties"]["Environment"]["Variables"]
    settable = {name for name, value in given.items() if name in variables() and reached("zip", value)}
    for page in ("README.md", "README.zh-CN.md"):
        told = re.findall(r"`(DORMOUSE_\w+)` ?[(（]`(\w+)`[)）]", (PROJECT / page).read_text())
        assert {name: {parameter} for name, parameter in told} == {
            name: reached("zip", given[name]) for name in settable - {PRICE}
        }
