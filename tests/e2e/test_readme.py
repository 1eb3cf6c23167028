"""The README's examples are run as they stand, against a server that is started as the README starts it.

A fenced block marked `bash` or `python` is executed; `sh` blocks are commands that make environments, so of
those the make targets are checked to exist. The chapter on deployment has a test of its own, with a cloud.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.clients.conftest import CLIENTS, TIMEOUT_S, client_environment
from tests.readme import READMES, ROOT, deployment, examples, text_of

ADDRESS = "http://127.0.0.1:8080"


def local_examples() -> list[tuple[str, str]]:
    """The examples of both READMEs that need no cloud, each text once."""
    texts = (text_of(name).replace(deployment(name), "") for name in READMES)
    return list(dict.fromkeys(pair for text in texts for pair in examples(text)))


@pytest.mark.parametrize(("language", "text"), local_examples())
def test_example_runs(language: str, text: str, house_server: str, tmp_path: Path) -> None:
    """An example copied from the README runs without an error and prints something."""
    python = CLIENTS / "python" if "langchain" in text else sys.executable
    command = ["bash", "-euo", "pipefail", "-c"] if language == "bash" else [python, "-c"]
    run = subprocess.run(
        [*command, text.replace(ADDRESS, house_server)],
        cwd=ROOT,
        env=client_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip()


def test_commands_exist() -> None:
    """Every make target that the READMEs name is one that the Makefile has."""
    makefiles = [ROOT / "Makefile", *ROOT.glob("*/*.mk")]
    targets = {t for path in makefiles for t in re.findall(r"^([\w-]+):", path.read_text(), re.MULTILINE)}
    call = re.compile(r"(?:^|`|&& )make ([a-z0-9-]+)", re.MULTILINE)
    named = {target for name in READMES for target in call.findall(text_of(name))}
    assert named
    assert named <= targets


@pytest.mark.parametrize("name", READMES)
def test_links_lead_somewhere(name: str) -> None:
    """Every relative link and picture of a README exists in the repository."""
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text_of(name))
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_examples_are_the_same_in_both_languages() -> None:
    """The translation carries as many executed examples, and in the chapter on deployment the same ones."""
    english, chinese = (examples(text_of(name)) for name in READMES)
    assert len(english) == len(chinese)
    english, chinese = (examples(deployment(name)) for name in READMES)
    assert [_without_comments(text) for _, text in english] == [
        _without_comments(text) for _, text in chinese
    ]


def _without_comments(text: str) -> str:
    return re.sub(r"\s+# .*$", "", text, flags=re.MULTILINE)
