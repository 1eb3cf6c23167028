"""The artifact that `make build` makes, run by a real python3.13 as Lambda runs it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from handler.sessions.dynamo_table import DynamoTable
from tests.contract.runtime.runtime_api import RuntimeApi
from tests.dynamodb import CREDENTIALS, ministack
from tests.stack import PROJECT, function_environment, properties

PYTHON313 = PROJECT / ".venv/lambda/bin/python"
TABLE = "artifact-conversations"


@dataclass(frozen=True)
class Deployment:
    """An artifact, the model in it, and the environment that the template gives it."""

    folder: Path
    model: str
    variables: dict[str, str]
    python: Path = PYTHON313

    @property
    def command(self) -> list[str]:
        """How Lambda starts it: the wrapper, with the interpreter and the runtime for arguments."""
        wrapper = self.variables["AWS_LAMBDA_EXEC_WRAPPER"]
        return [wrapper, str(self.python), "-m", "awslambdaric", properties("Function")["Handler"]]

    def environment(self, **more: str) -> dict[str, str]:
        """All variables of the function's execution environment."""
        here = {
            "LAMBDA_TASK_ROOT": str(self.folder),
            "_HANDLER": properties("Function")["Handler"],
        }
        return lambda_platform(**{**here, **self.variables, **more})


def lambda_platform(**more: str) -> dict[str, str]:
    """The variables that Lambda sets, these, and none of the developer's own."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    platform = {
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "AWS_LAMBDA_FUNCTION_NAME": "dormouse",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
        "AWS_LAMBDA_FUNCTION_VERSION": "1",
        "AWS_REGION": "us-east-1",
        "PYTHONDONTWRITEBYTECODE": "1",  # /var/task is read-only there
    }
    return {**kept, **CREDENTIALS, **platform, **more}


@contextmanager
def running(
    deployment: Deployment, log: Path, **variables: str
) -> Iterator[tuple[RuntimeApi, subprocess.Popen[bytes]]]:
    """Start it in front of the tests' own Runtime API, whose protocol it must not breach."""
    api = RuntimeApi()
    with log.open("wb") as sink:
        process = subprocess.Popen(
            deployment.command,
            env=deployment.environment(AWS_LAMBDA_RUNTIME_API=api.address, **variables),
            cwd="/",
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    try:
        yield api, process
    finally:
        process.kill()
        process.wait()
        api.close()
        assert api.breaches == []


def built(arch: str, bundle: Path, out: Path) -> Path:
    """The function's folder that `sam build` fills in `out`."""
    command = [
        "make",
        "--no-print-directory",
        "build",
        f"ARCH={arch}",
        f"BUNDLE={bundle}",
        f"SAM_BUILD={out}",
    ]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out / "Function"


@pytest.fixture(scope="session")
def artifact(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is built for x86_64."""
    return built("x86_64", bundle, tmp_path_factory.mktemp("artifact") / "sam")


@pytest.fixture(scope="session")
def arm64_artifact(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is built for arm64."""
    return built("arm64", bundle, tmp_path_factory.mktemp("arm64") / "sam")


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DynamoTable]:
    """The conversations' table on a DynamoDB-protocol server."""
    with pytest.MonkeyPatch.context() as patch, ministack(tmp_path_factory.mktemp("dynamodb") / "log") as url:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        made = DynamoTable(TABLE, endpoint_url=url)
        made.create()
        yield made
        made.close()


@pytest.fixture(scope="session")
def deployment(artifact: Path, bundle: Path, table: DynamoTable) -> Deployment:
    """The artifact with the template's environment, its table on this machine."""
    variables = function_environment({"Table": TABLE})
    variables = {name: value.replace("/var/task", str(artifact)) for name, value in variables.items()}
    variables["DORMOUSE_DYNAMODB_ENDPOINT"] = table.client.meta.endpoint_url
    return Deployment(artifact, json.loads((bundle / "bundle.json").read_text())["name"], variables)
