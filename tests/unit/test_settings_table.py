"""The READMEs' settings tables say what the code reads."""

import dataclasses
import re
from pathlib import Path

import pytest

from handler.settings import PROJECT, Settings, variables

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| `(DORMOUSE_\w+)` \| (.*?) \| (.*?) \|$", re.MULTILINE)


def shown_default(value: object) -> str:
    """How a default stands in the table."""
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return f"`{int(value)}`"
    text = f"{value:.10f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return f"`{text.removeprefix(f'{PROJECT}/')}`"


def expected_rows() -> list[tuple[str, str, str]]:
    """The table's rows, from the settings themselves."""
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    return [
        (name, shown_default(defaults[field]), variable.help)
        for name, (field, variable) in variables().items()
    ]


def test_table_is_complete() -> None:
    """The English table has every variable with its default and meaning, and no other."""
    assert ROW.findall((ROOT / "README.md").read_text(encoding="utf-8")) == expected_rows()


def test_translated_table_is_complete() -> None:
    """The Chinese table has the same variables with the same defaults."""
    rows = ROW.findall((ROOT / "README.zh-CN.md").read_text(encoding="utf-8"))
    assert [row[:2] for row in rows] == [row[:2] for row in expected_rows()]


@pytest.mark.parametrize("name", sorted(variables()))
def test_each_variable_is_explained(name: str) -> None:
    """No variable is listed without a word on what it means."""
    assert variables()[name][1].help
