"""What `make build` makes: small enough, of the right architecture, the same every time, and nothing else."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path

from infra.artifact import UNZIPPED_LIMIT_BYTES, size_bytes
from tests.e2e.artifact.conftest import PYTHON313, built

DEPENDENCIES_BUDGET_BYTES = 120_000_000  # llguidance takes 7.6 of them: ADR 27
X86_64, AARCH64 = 62, 183  # e_machine of an ELF file


def digest(folder: Path) -> dict[str, tuple[int, float, str]]:
    """Every file's mode, time and content."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mode,
            path.stat().st_mtime,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def machines(folder: Path) -> set[int]:
    """The architectures of all shared objects."""
    objects = [path for path in folder.rglob("*") if path.is_file() and re.search(r"\.so(\.|$)", path.name)]
    return {int.from_bytes(path.read_bytes()[18:20], "little") for path in objects}


def test_size_is_within_the_limits(artifact: Path) -> None:
    """Under Lambda's 250 MB unzipped with the bundle inside, dependencies within their own budget."""
    own = size_bytes(artifact / "handler") + size_bytes(artifact / "bundle")
    assert size_bytes(artifact) <= UNZIPPED_LIMIT_BYTES
    assert size_bytes(artifact) - own <= DEPENDENCIES_BUDGET_BYTES


def test_nothing_needless_is_inside(artifact: Path) -> None:
    """No build machine's packages, tests or compiled files; licences come along."""
    names = {path.name for path in artifact.iterdir()}
    assert not names & {
        "boto3",
        "botocore",
        "torch",
        "transformers",
        "onnx",
        "uvicorn",
        "awslambdaric",
        "bin",
    }
    assert not [path for path in artifact.rglob("*") if path.name in ("__pycache__", "tests")]
    assert list(artifact.glob("numpy-*.dist-info/licenses"))


def test_the_authorizer_is_a_few_files_of_our_own(artifact: Path) -> None:
    """It comes up from Python's standard library alone, and weighs next to nothing."""
    folder = artifact.parent / "Authorizer"
    assert size_bytes(folder) < 30_000
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} == {".py"}
    command = [str(PYTHON313), "-S", "-B", "-c", "import infra.authorizer.function"]
    subprocess.run(command, cwd=folder, check=True)


def test_the_wrapper_can_be_executed(artifact: Path) -> None:
    """Lambda starts it as a program."""
    assert os.access(artifact / "handler/runtime.sh", os.X_OK)
    assert machines(artifact) == {X86_64}


def test_arm64_builds_here(arm64_artifact: Path) -> None:
    """Every native file is of that architecture, and the whole fits as well."""
    assert machines(arm64_artifact) == {AARCH64}
    assert size_bytes(arm64_artifact) <= UNZIPPED_LIMIT_BYTES


def test_a_build_is_always_the_same(artifact: Path, bundle: Path, tmp_path: Path) -> None:
    """A second build is the first, byte for byte."""
    assert digest(built("x86_64", bundle, tmp_path / "sam")) == digest(artifact)
