"""What the READMEs tell one to type can be typed, and both say the same, which is what the code does."""

from __future__ import annotations

import re
import tomllib

import pytest

from handler.local import UNLESS_SET
from handler.settings import PREFIX
from tests.readme import READMES, ROOT, text_of
from tests.stack import template

FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
ASSIGNED_WORDS = re.compile(r'="[^"$]*"')
"""A reason in the reader's own language."""

readmes = pytest.mark.parametrize("name", READMES)


@readmes
def test_what_is_built_is_what_is_deployed(name: str) -> None:
    """`make deploy` builds anew: after a `make build` it has to name the same bundle."""
    lines = [line for line in text_of(name).splitlines() if line.startswith("make build")]
    assert lines
    for line in lines:
        (built,) = re.findall(r"make build (BUNDLE=\S+)", line)
        assert re.findall(r"make deploy ?(\S*)", line) in ([], [built])


@readmes
def test_a_module_is_run_by_an_interpreter_that_has_what_it_needs(name: str) -> None:
    """Each `python -m` is one of the project's environments'."""
    interpreters = re.findall(r"(\.venv/\w+/bin/|)python -m (?:handler|export|infra|bench)", text_of(name))
    assert set(interpreters) == {f".venv/{env}/bin/" for env in ("run", "cloud", "export")}


def test_the_stacks_outputs_name_the_interpreter_too() -> None:
    """What the console shows can be typed as well."""
    template = (ROOT / "template.yaml").read_text(encoding="utf-8")
    assert re.findall(r"(\S*)python -m", template) == [".venv/cloud/bin/"]


@readmes
def test_the_clients_are_installed_with_all_that_they_import(name: str) -> None:
    """What a reader has installed by then is what the tests of the clients have."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    tested = {line.partition("==")[0] for line in project["dependency-groups"]["clients"]}
    installed = [
        line.replace("'", "").split() for line in re.findall(r"`pip install ([^`]+)`", text_of(name))
    ]
    assert {word for words in installed for word in words} == tested


def test_both_languages_name_the_same() -> None:
    """Every command, option, field, file and number in code that one README names is in the other one."""
    english, chinese = (
        {ASSIGNED_WORDS.sub("=", span) for span in re.findall(r"`([^`\n]+)`", FENCED.sub("", text_of(name)))}
        for name in READMES
    )
    assert english == chinese


@readmes
def test_what_the_local_server_sets_is_told(name: str) -> None:
    """It has other defaults than the settings' table, for it has no gateway before it."""
    assert UNLESS_SET
    for field, value in UNLESS_SET.items():
        variable = PREFIX + field.upper()
        assert f"`{variable}={value}`" in text_of(name)


@readmes
def test_the_limits_of_a_fresh_stack_are_told(name: str) -> None:
    """Whoever deploys learns how many requests come through before they are refused."""
    (row,) = re.findall(r"^\| API Gateway \|.*", text_of(name), re.MULTILINE)
    for parameter in ("RequestsPerSecond", "RequestsPerDay"):
        assert f"`{parameter}`" in row
        default = template()["Parameters"][parameter]["Default"]
        assert re.search(rf"(?<![\d,]){default:,}(?!,?\d)", row)
