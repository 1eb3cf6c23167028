"""The pages of docs/deploy: what they tell one to type and to set exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import botocore.session
import pytest
import yaml
from botocore import xform_name

from handler.platforms import recognise
from handler.settings import variables
from tests.stack import PROJECT, template

FOLDER = PROJECT / "docs/deploy"
PAGES = sorted(FOLDER.glob("*.md"))
PLATFORMS = [page for page in PAGES if page.stem not in ("README", "github", "versions")]
OF_EVERY_COMMAND = {"query", "output", "region", "cli-binary-format"}
CUSTOM = {"s3", "logs tail", "ecr get-login-password", "sagemaker wait", "dynamodb wait"}
"""What the AWS CLI adds to the services' own operations."""


def commands(page: Path) -> list[list[str]]:
    """All commands of a page's `sh` blocks as words, pipes and lines parted."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ")
    lines = re.sub(r"<([^<>\n]*)>", lambda found: re.sub(r"[^\w]", "-", found[1]), lines)
    lines = re.sub(r"\w+=\$\((.*?)\)$", r"\1", lines, flags=re.MULTILINE)
    found, words = [], shlex.shlex(lines, posix=True, punctuation_chars="|;")
    words.whitespace, words.whitespace_split, words.commenters = " \t", True, "#"
    line: list[str] = []
    for word in [*words, "\n"]:
        for part in re.split(r"(\n)", word):
            if part in ("\n", "|"):
                found.append(line)
                line = []
            elif part:
                line.append(part)
    return [each for each in found if each]


AWS = [(page.stem, each) for page in PAGES for each in commands(page) if each[0] == "aws"]


@pytest.mark.parametrize("page", PLATFORMS, ids=lambda page: page.stem)
def test_a_page_goes_from_nothing_and_back(page: Path) -> None:
    """Each platform's page creates, calls, looks, changes, tells cost and limits, deletes, has sources."""
    text = page.read_text()
    headings = [each for each in re.findall(r"^## (.*)$", text, re.MULTILINE) if each != "Probes"]
    assert headings == ["Create", "Call", "Look", "Change", "Asleep", "Limits", "Delete"]
    assert "\nSources: " in text
    assert len(text.splitlines()) < 150


@pytest.mark.parametrize(
    ("page", "words"), AWS, ids=lambda value: value if isinstance(value, str) else value[2]
)
def test_aws_commands_exist(page: str, words: list[str]) -> None:
    """An `aws` command is an operation of its service, and every flag one of its parameters."""
    service, operation = words[1:3]
    if service in CUSTOM or f"{service} {operation}" in CUSTOM:
        return
    model = botocore.session.get_session().get_service_model(service)
    names = {xform_name(name, "-"): name for name in model.operation_names}
    assert operation in names, page
    shape = model.operation_model(names[operation]).input_shape
    known = {xform_name(name, "-") for name in shape.members} | OF_EVERY_COMMAND
    flags = {word.removeprefix("--").partition("=")[0] for word in words if word.startswith("--")}
    assert flags <= known, page


def test_enough_commands_were_found() -> None:
    """The commands are really read from the pages."""
    assert {"sagemaker", "sagemaker-runtime", "ecr", "logs", "dynamodb"} <= {words[1] for _, words in AWS}
    assert sum(each[0] in ("gcloud", "az", "docker") for page in PAGES for each in commands(page)) > 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_names_exists(page: Path) -> None:
    """Settings, parameters, make targets, modules and relative links."""
    text = page.read_text()
    assert set(re.findall(r"DORMOUSE_\w+", text)) <= set(variables())
    makefiles = "".join(each.read_text() for each in [PROJECT / "Makefile", *PROJECT.glob("*/*.mk")])
    for target in re.findall(r"^make ([\w-]+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefiles, re.MULTILINE)
    given = re.findall(r'(?:--parameter-overrides |PARAMETERS=)("[^"]*"|\S+)', text)
    for name in re.findall(r"(\w+)=", " ".join(given)):
        assert name in template()["Parameters"]
    for link, _, anchor in (each.partition("#") for each in re.findall(r"\]\((?!https?:)([^)]+)", text)):
        target = (FOLDER / link).resolve() if link else page
        assert target.exists(), link
        headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE) if anchor else []
        assert not anchor or anchor in {re.sub(r"\W+", "-", each.lower()).strip("-") for each in headings}


def test_a_deployment_by_hand_names_its_defaults() -> None:
    """SAM looks for samconfig.toml beside the template, where a build has none; so a command that deploys one
    says where the file is: on the pages, in the READMEs, and in the workflow."""
    texts = [page.read_text() for page in [*PAGES, *PROJECT.glob("README*.md")]]
    jobs = yaml.safe_load((PROJECT / ".github/workflows/rollout.yml").read_text())["jobs"]
    texts += [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    lines = [found for text in texts for found in re.findall(r"sam deploy[^`\n]*", text.replace("\\\n", " "))]
    with_template = [line for line in lines if "--template" in line]
    assert with_template
    assert [line for line in with_template if "--config-file" not in line] == []


def test_the_table_of_platforms_is_the_codes() -> None:
    """What the overview says of limits and ports is what the container goes by."""
    rows = {
        cells[1].strip("`"): cells
        for cells in (line.split(" | ") for line in (FOLDER / "README.md").read_text().splitlines())
        if len(cells) > 4
    }
    minutes = {
        name: int(found[1]) for name, c in rows.items() if (found := re.search(r"(\d+) minutes", c[4]))
    }
    for sign, environment, arguments in (
        ("the argument `serve", {}, ["serve"]),
        ("K_SERVICE", {"K_SERVICE": "x"}, []),
        ("AZUREML_MODEL_DIR", {"AZUREML_MODEL_DIR": "/x"}, []),
        ("CONTAINER_APP_NAME", {"CONTAINER_APP_NAME": "x"}, []),
    ):
        platform = recognise(environment, arguments)
        assert platform
        assert platform.stream_timeout_s == 60 * minutes[sign]
        assert str(platform.port) in rows[sign][2] or "PORT" in rows[sign][2]
