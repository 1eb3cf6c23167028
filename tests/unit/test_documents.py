"""The documents beside the READMEs: links lead somewhere, decisions are listed, options are explained."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.readme import ROOT

DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "CHANGELOG.md"])
DECISIONS = sorted((DOCS / "adr").glob("[0-9]*.md"))
COMMANDS = [
    *(ROOT / "handler").rglob("*.py"),
    *(ROOT / "infra").rglob("*.py"),
    *(ROOT / "bench").rglob("*.py"),
]
COMMANDS += [path for path in (ROOT / "export").rglob("*.py") if path.parent.name != "house"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page is a file or folder of the repository."""
    text = re.sub(r"`[^`\n]*`", "", page.read_text(encoding="utf-8"))
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_decision_is_listed() -> None:
    """The list has each decision once, in order, by its number and its title."""
    listed = re.findall(r"^- \[(\d+)\]\((\S+)\) (.+)$", (DOCS / "adr/README.md").read_text(), re.MULTILINE)
    headings = [re.match(r"# 0*(\d+)\.? (.+)", path.read_text(encoding="utf-8")) for path in DECISIONS]
    assert listed == [
        (found[1], path.name, found[2]) for path, found in zip(DECISIONS, headings, strict=True) if found
    ]
    assert [int(path.name[:4]) for path in DECISIONS] == [int(number) for number, _, _ in listed]


def test_decisions_that_are_named_exist() -> None:
    """Wherever a document or a module says "ADR 12", there is one of that number."""
    numbers = {int(path.name[:4]) for path in DECISIONS}
    sources = [path for path in [*PAGES, *COMMANDS] if path.name != "LOG.md"]
    named = {
        int(number)
        for path in sources
        for number in re.findall(r"\bADR (\d+)", path.read_text(encoding="utf-8"))
    }
    assert named
    assert named <= numbers


def options(source: str) -> Iterator[tuple[str, bool]]:
    """Each option or argument of a command, and whether `--help` says what it is for."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
            given = {keyword.arg for keyword in node.keywords}
            yield ast.unparse(node.args[0]), bool({"help", None} & given)  # None: help may be among the **


def test_help_explains_every_option() -> None:
    """No option of a command is a name alone; `export.house` is for whoever reads its code."""
    found = [
        (str(path), *option) for path in COMMANDS for option in options(path.read_text(encoding="utf-8"))
    ]
    assert len(found) > 50
    assert [(path, name) for path, name, is_explained in found if not is_explained] == []
