"""SAM's transform, as CloudFormation applies it to a stack whose code is uploaded."""

from __future__ import annotations

import copy
import json
import os
import subprocess
from collections.abc import Mapping
from typing import Any

from tests.dynamodb import CREDENTIALS
from tests.stack import PROJECT

FUNCTIONS = ("Function", "Authorizer")
TRANSFORM = """
import json, sys, types
from samtranslator.translator.transform import transform
text, each = json.load(sys.stdin)
print(json.dumps([transform(json.loads(text), values, types.SimpleNamespace(load=dict)) for values in each]))
"""


def transformed(template: Mapping[str, Any], *each: Mapping[str, str]) -> list[dict[str, Any]]:
    """What becomes of a template with each of these values of its parameters; others are defaults."""
    stack = copy.deepcopy(dict(template))
    for name in FUNCTIONS:
        facts = stack["Resources"][name]["Properties"]
        if facts.get("PackageType") != "Image":
            facts["CodeUri"] = "s3://artifacts/code"
    done = subprocess.run(
        [PROJECT / ".venv/cloud/bin/python", "-c", TRANSFORM],
        input=json.dumps([json.dumps(stack), each]),
        env={**os.environ, **CREDENTIALS},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    made: list[dict[str, Any]] = json.loads(done.stdout)
    return made
