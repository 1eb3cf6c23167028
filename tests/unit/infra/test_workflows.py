"""The workflows of GitHub Actions: what they run exists here, and they can do no more than they must."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.stack import PROJECT, template

FOLDER = PROJECT / ".github/workflows"
FILES = sorted(FOLDER.glob("*.yml"))
MAKEFILE = (PROJECT / "Makefile").read_text()


def read(path: Path) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load(path.read_text())
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_workflow_has_few_rights(path: Path) -> None:
    """By default it may read the code and no more; only a rollout may ask AWS for a role, none has a key."""
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        asks_aws = "id-token" in job.get("permissions", {})
        assert asks_aws == ("rollout" in (str(job.get("uses")) + path.stem))
    assert "AWS_SECRET_ACCESS_KEY" not in path.read_text()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_workflow_runs_what_there_is(path: Path) -> None:
    """Make targets, modules, called workflows and the values of parameters exist."""
    text = path.read_text()
    makefiles = "".join(each.read_text() for each in [PROJECT / "Makefile", *PROJECT.glob("*/*.mk")])
    for target in re.findall(r"run: make ([\w-]+)", text):
        assert re.search(rf"^{target}:", makefiles, re.MULTILINE)
    for module in re.findall(r"python -m ([\w.]+)", text):
        assert (PROJECT / f"{module.replace('.', '/')}.py").is_file()
    for called in re.findall(r"uses: \./(\S+)", text):
        assert (PROJECT / called).is_file()
    rollouts = template()["Parameters"]["Rollout"]["AllowedValues"]
    assert all(value.strip('"') in rollouts for value in re.findall(r"rollout: (\w+|\"\w+\")", text))


def test_an_action_is_one_commit() -> None:
    """Of somebody else's actions the commit is named, the same everywhere: a tag can be moved, and one of the
    jobs holds the AWS account."""
    used = re.findall(r"uses: ([^.\s]\S*?)@(\S+)(.*)", "".join(path.read_text() for path in FILES))
    assert {name for name, _, _ in used} >= {"actions/checkout", "aws-actions/configure-aws-credentials"}
    for name, commit, version in used:
        assert re.fullmatch(r"[0-9a-f]{40}", commit), name
        assert re.fullmatch(r"  # v\d+\.\d+\.\d+", version), name
    assert len({name for name, _, _ in used}) == len(set(used))


def test_what_deploys_is_checked_by_hash() -> None:
    """The environments of the job that holds the AWS account are installed by hashes alone."""
    (made,) = re.findall(r"run: make (\.venv/.*)", (FOLDER / "rollout.yml").read_text())
    (rule,) = re.findall(
        r"^(.*): \.venv/%/\.made: .*\n(?:\t.*\n)*?\t.*--require-hashes", MAKEFILE, re.MULTILINE
    )
    assert set(made.split()) <= set(rule.split())
    for environment in made.split():
        lock = (PROJECT / f"requirements/{environment.split('/')[1]}.txt").read_text()
        packages = re.findall(r"^\w.*?(?=^\w|\Z)", lock, re.DOTALL | re.MULTILINE)
        assert packages
        assert all("==" in each and "--hash=sha256:" in each for each in packages)


def test_prod_comes_after_dev() -> None:
    """Nothing is deployed that was not checked, and nothing reaches prod that was not asked in dev."""
    jobs = read(FOLDER / "deploy.yml")["jobs"]
    assert [(name, job.get("needs")) for name, job in jobs.items()] == [
        ("check", None),
        ("build", "check"),
        ("dev", "build"),
        ("prod", "dev"),
    ]
    assert jobs["prod"]["with"]["rollout"] != "off"


def test_a_check_ends_no_deploy() -> None:
    """A change of main is checked by its deploy alone, in a group of that run's own; a newer push ends only
    the check of a pull request."""
    check = read(FOLDER / "check.yml")
    assert set(check[True]) == {"pull_request", "workflow_call"}  # YAML 1.1 reads the word `on` as true
    assert read(FOLDER / "deploy.yml")["jobs"]["check"]["uses"] == "./.github/workflows/check.yml"
    assert check["concurrency"] == {
        "group": "check-${{ github.event_name == 'pull_request' && github.ref || github.run_id }}",
        "cancel-in-progress": True,
    }


def test_a_rollback_waits_for_a_rollout_only() -> None:
    """An environment is changed by one job at a time, which nothing cancels; deploys keep the order of their
    changes, and a rollback does not stand in their line."""
    rollout = read(FOLDER / "rollout.yml")
    assert rollout["jobs"]["rollout"]["concurrency"] == {
        "group": "rollout-${{ inputs.environment }}",
        "queue": "max",
    }
    assert read(FOLDER / "deploy.yml")["concurrency"] == {"group": "deploy", "queue": "max"}
    for workflow in (rollout, read(FOLDER / "rollback.yml")):
        assert "concurrency" not in workflow
    jobs = [*read(FOLDER / "deploy.yml")["jobs"].values(), *read(FOLDER / "rollback.yml")["jobs"].values()]
    assert not any("concurrency" in job for job in jobs)


def test_a_rollout_makes_the_environments_it_uses() -> None:
    """And neither of the two that PyTorch is installed into, which takes minutes and gigabytes."""
    text = (FOLDER / "rollout.yml").read_text()
    made = set(re.findall(r"\.venv/(\w+)/\.made", text))
    assert made == set(re.findall(r"\.venv/(\w+)/bin/", text))
    heavy = re.search(r"^(.*): \.venv/%/\.made.*\n(?:\t.*\n)*?\t.*torch==", MAKEFILE, re.MULTILINE)
    assert heavy
    assert not made & set(re.findall(r"\.venv/(\w+)/", heavy[1]))


def test_a_model_is_chosen_by_its_location() -> None:
    """Both ways to deploy hand a bundle's location to the stack's parameter, beside the instruction set that
    was built for; without a location the stack keeps its own."""
    for name, jobs in (("deploy", ["dev", "prod"]), ("rollback", ["rollback"])):
        workflow = read(FOLDER / f"{name}.yml")
        asked = workflow[True]["workflow_dispatch"]["inputs"]["bundle"]
        assert asked["default"] == ""
        for job in jobs:
            assert "inputs.bundle" in workflow["jobs"][job]["with"]["bundle"]
    built = re.search(r"make build ARCH=(\w+)", (FOLDER / "deploy.yml").read_text())
    assert built
    steps = {each.get("name"): each for each in read(FOLDER / "rollout.yml")["jobs"]["rollout"]["steps"]}
    assert steps["Deploy"]["env"]["BUNDLE"] == "${{ inputs.bundle }}"
    for bundle, passed in (("", []), ("s3://b/x/1", ["BundleLocation=s3://b/x/1"])):
        command = f"set -- {steps['Deploy']['run']}\nprintf '%s\\n' \"$@\""
        variables = {"STACK": "s", "ROLLOUT": "off", "BUNDLE": bundle, "PATH": "/usr/bin:/bin"}
        words = subprocess.run(
            ["bash", "-euc", command], env=variables, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        expected = [f"Architecture={built[1]}", "Rollout=off", *passed]
        assert words[words.index("--parameter-overrides") + 1 :] == expected
    assert "BundleLocation" in template()["Parameters"]
