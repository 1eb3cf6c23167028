"""What a stack was told is asked of CloudFormation by its own protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from infra.parameters import main
from tests.dynamodb import CREDENTIALS, moto

TEMPLATE = {
    "Parameters": {"Architecture": {"Type": "String"}},
    "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
}


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A stack for arm64, on a server that AWS's tools find."""
    with moto(tmp_path / "log") as url:
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": url}.items():
            monkeypatch.setenv(name, value)
        told = [{"ParameterKey": "Architecture", "ParameterValue": "arm64"}]
        boto3.client("cloudformation").create_stack(
            StackName="there", TemplateBody=json.dumps(TEMPLATE), Parameters=told
        )
        yield "there"


def test_a_stack_says_what_it_has(
    stack: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parameter where it is; a default where there is no stack; no answer, and a line, without AWS."""
    for name, expected in ((stack, "arm64"), ("nowhere", "x86_64")):
        assert main([name, "Architecture", "--default", "x86_64"]) == 0
        assert capsys.readouterr().out == f"{expected}\n"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert main([stack, "Architecture", "--default", "x86_64"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("parameters: the stack there: ")
