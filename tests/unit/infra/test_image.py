"""The image's Dockerfile and the stack that is made for it: what nobody may change without meaning to."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from infra.image.template import CHANGES, image_template
from tests.e2e.image.dockerfile import DOCKERFILE, Image, instructions
from tests.stack import PROJECT

TEMPLATE = (PROJECT / "template.yaml").read_text()


@pytest.fixture
def image(tmp_path: Path) -> Image:
    """What the Dockerfile says, nothing of it done."""
    return Image(tmp_path, {}).make(is_dry=True)


def test_hadolint_finds_nothing() -> None:
    """The Dockerfile is as its linter wants it, without an exception."""
    run = subprocess.run([PROJECT / ".venv/dev/bin/hadolint", DOCKERFILE], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "")
    assert "hadolint ignore" not in DOCKERFILE.read_text()


def test_what_the_image_is_made_of_is_pinned(image: Image) -> None:
    """The base has a whole version, every package a hash, and the Python is Lambda's."""
    assert re.fullmatch(r"public\.ecr\.aws/docker/library/python:3\.13\.\d+-slim-\w+", image.base)
    (install,) = [rest for word, rest in instructions() if word == "RUN" and " pip " in rest]
    assert {"--require-hashes", "--no-deps", "--only-binary=:all:"} <= set(install.split())
    lock = (PROJECT / "requirements/image.txt").read_text()
    packages = re.findall(r"^[a-z].*?(?=^[a-z]|\Z)", lock, re.DOTALL | re.MULTILINE)
    assert packages
    assert all("==" in each and "--hash=sha256:" in each for each in packages)


def test_the_image_runs_as_nobody_and_tells_of_its_health(image: Image) -> None:
    """By default it is not root, holds no secret, and an engine can ask whether it serves."""
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", image.user)
    assert image.healthcheck == [*image.entrypoint, "ping"]
    assert not [
        name for name in {*image.environment, *image.arguments} if re.search("KEY|SECRET|TOKEN", name)
    ]
    assert image.environment["DORMOUSE_SESSIONS"].startswith(
        "/tmp/"
    )  # the one place that nobody may write to


def test_memory_is_asked_for_as_in_a_zip(image: Image) -> None:
    """What the zip's wrapper sets for glibc the image sets, since nothing there runs the wrapper."""
    wrapper = (PROJECT / "handler/runtime.sh").read_text()
    found = re.search(r'export MALLOC_ARENA_MAX="\$\{MALLOC_ARENA_MAX:-(\d+)\}"', wrapper)
    assert found
    assert image.environment["MALLOC_ARENA_MAX"] == found[1]


def test_no_signal_is_lost_on_the_way(image: Image) -> None:
    """The server is the container's first process: a shell before it would keep signals to itself."""
    assert image.entrypoint == ["python", "-m", "handler.container"]


def test_nothing_reaches_the_build_but_what_is_copied() -> None:
    """All is ignored but what a COPY names; conversations that lie in build/ never are in an image."""
    lines = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().splitlines()
    kept = {line.removeprefix("!") for line in lines if line.startswith("!")}
    sources = [rest.split()[0].rstrip("/") for word, rest in instructions() if word == "COPY"]
    assert lines[1] == "*"
    assert {source for source in sources if not source.startswith("$")} <= kept
    assert kept <= {*sources, "models", "build"}  # where bundles are
    assert "**/*.sqlite3*" in lines


def test_the_stack_of_an_image_is_the_stack(tmp_path: Path) -> None:
    """Nothing differs from template.yaml but the package, the image's parameter, the snapshot's."""
    made = image_template(TEMPLATE)
    removed = [line for line in TEMPLATE.splitlines() if line not in made.splitlines()]
    of_snapshots = [line for line in removed if "Snap" in line or "napshot" in line]
    # Its place on the form, the parameter and its description, condition, property, a version's description.
    assert len(of_snapshots) == 6
    others = [line.rstrip("\n") for line, _ in CHANGES if "SnapStart" not in line]
    assert [line for line in removed if line not in of_snapshots] == [
        line for line in others if line not in made.splitlines()
    ]
    form, *added = [line for line in made.splitlines() if line not in TEMPLATE.splitlines()]
    assert form == of_snapshots[0].replace(", SnapStart", "")
    assert [line.split(":")[0].strip() for line in added] == [
        "ImageUri",
        "Description",
        "AllowedPattern",
        "PackageType",
        "ImageUri",
        "VersionDescription",
    ]
    assert "RuntimeManagementConfig" not in made  # Lambda manages no image's runtime
    assert made.count("BuildMethod") == TEMPLATE.count("BuildMethod") - 1  # the authorizer stays a zip


@pytest.mark.parametrize(("line", "instead"), CHANGES)
def test_a_change_of_the_stack_that_an_image_cannot_follow_stops_it(line: str, instead: str) -> None:
    """A line that is not there any more is named."""
    with pytest.raises(ValueError, match=re.escape(line.split(":")[0].strip())):
        image_template(TEMPLATE.replace(f"\n{line}", "\n"))


@pytest.mark.parametrize(
    ("uri", "is_one"),
    [
        ("123456789012.dkr.ecr.eu-central-1.amazonaws.com/dormouse@sha256:" + "0" * 64, True),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/a/dormouse:2026-11-26", True),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/dormouse", False),
        ("docker.io/library/dormouse:1", False),
    ],
)
def test_an_image_is_named_in_full(uri: str, is_one: bool) -> None:
    """The parameter takes an image of ECR with its digest or tag, and nothing that would move by itself."""
    found = re.search(r'AllowedPattern: (".*dkr.*")', image_template(TEMPLATE))
    assert found
    assert bool(re.fullmatch(yaml.safe_load(found[1]), uri)) == is_one
