"""template.yaml as plain data: what the tests ask of the stack, and the environment it gives the function."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[1]
EVENTS = PROJECT / "infra" / "events"
ENV = EVENTS / "env.json"


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short tags as their long forms."""


def _intrinsic(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {"Ref": value} if tag in ("Ref", "Condition") else {f"Fn::{tag}": value}


_Loader.add_multi_constructor("!", _intrinsic)


def parsed(text: str) -> dict[str, Any]:
    """A template's text as plain data."""
    found: dict[str, Any] = yaml.load(text, _Loader)
    return found


@functools.cache
def template() -> dict[str, Any]:
    """The whole template."""
    return parsed((PROJECT / "template.yaml").read_text())


def properties(resource: str) -> dict[str, Any]:
    """The properties of one resource."""
    found: dict[str, Any] = template()["Resources"][resource]["Properties"]
    return found


def routes() -> dict[tuple[str, str], dict[str, Any]]:
    """What the API calls the function for: (method, path) -> the event's properties."""
    events = (event["Properties"] for event in properties("Function")["Events"].values())
    return {(event["Method"], event["Path"]): event for event in events}


def function_environment(references: Mapping[str, str]) -> dict[str, str]:
    """The function's variables, its references being these or the parameters' defaults."""
    defaults = {name: str(each["Default"]) for name, each in template()["Parameters"].items()}
    known = {"AWS::StackName": "dormouse", **defaults, **references}

    def resolve(value: Any) -> str:
        if isinstance(value, dict) and "Ref" in value:
            return known[value["Ref"]]
        if isinstance(value, dict) and "Fn::If" in value:
            condition, if_so, otherwise = value["Fn::If"]
            one, other = template()["Conditions"][condition]["Fn::Equals"]
            return resolve(if_so if resolve(one) == resolve(other) else otherwise)
        return str(value)

    variables = properties("Function")["Environment"]["Variables"]
    return {name: resolve(value) for name, value in variables.items()}


def bundle_policy(location: str) -> dict[str, Any]:
    """The document of the policy that lets the function read a bundle there, its references resolved."""
    condition, policy, otherwise = next(
        each["Fn::If"]
        for each in properties("Role")["Policies"]
        if each.get("Fn::If", [""])[0] == "HasBucket"
    )
    assert (condition, otherwise) == ("HasBucket", {"Ref": "AWS::NoValue"})
    document: dict[str, Any] = copy.deepcopy(policy["PolicyDocument"])
    for statement in document["Statement"]:
        pattern, values = statement["Resource"]["Fn::Sub"]
        number, split = values["Bucket"]["Fn::Select"]
        by, parameter = split["Fn::Split"]
        assert parameter == {"Ref": "BundleLocation"}
        bucket = location.split(by)[number]
        statement["Resource"] = pattern.replace("${Bucket}", bucket).replace("${AWS::Partition}", "aws")
    return document


def sample_event(name: str, model: str | None = None) -> dict[str, Any]:
    """One of infra/events, asking for this model."""
    event: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    if model and event.get("body"):
        body = json.loads(event["body"])
        if "model" in body:
            event["body"] = json.dumps({**body, "model": model}, ensure_ascii=False)
    return event


def sample_names() -> list[str]:
    """All events of infra/events."""
    return sorted(path.stem for path in EVENTS.glob("*.json") if path != ENV)


def local_variables() -> dict[str, str]:
    """What the function is told where SAM runs it on a machine of one's own."""
    variables: dict[str, str] = json.loads(ENV.read_text())["Function"]
    return variables
