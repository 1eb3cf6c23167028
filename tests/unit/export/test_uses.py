"""What the source's card says of uses and limits is found by its headings."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.uses import MOST_CHARACTERS, uses_of

CARD = """---
license: mit
---
# A model

Words.

## Intended uses & limitations

For chats.

### Training data

Much.

## Bias, Risks, and Limitations ##

It may be wrong.

## How to use it
"""


def test_sections_on_uses_and_limits_are_taken(tmp_path: Path) -> None:
    """Their headings and texts come in the card's order; others, and empty ones, stay away."""
    (tmp_path / "README.md").write_text(CARD, encoding="utf-8")
    assert uses_of(tmp_path) == [
        ("Intended uses & limitations", "For chats."),
        ("Bias, Risks, and Limitations", "It may be wrong."),
    ]


def test_a_long_section_is_cut_between_paragraphs(tmp_path: Path) -> None:
    """What is left out is said."""
    paragraph = "word " * 100
    (tmp_path / "README.md").write_text("# Uses\n\n" + f"{paragraph}\n\n" * 20, encoding="utf-8")
    ((_, text),) = uses_of(tmp_path)
    assert len(text) < MOST_CHARACTERS + 60
    assert text.endswith("word \n\n(The rest is in the source's card.)")


CODE = "```python\nmodel = load()\n# use it on several GPUs\nmodel.run()\n```"


def test_a_comment_in_code_is_no_heading(tmp_path: Path) -> None:
    """A block of code stays whole: half of one would take in what the card says after it."""
    card = f"## How to use\n\n{CODE}\n\n~~~\n# limitations\n~~~\n\n## Limitations\n\nIt may be wrong.\n"
    (tmp_path / "README.md").write_text(card, encoding="utf-8")
    assert uses_of(tmp_path) == [
        ("How to use", f"{CODE}\n\n~~~\n# limitations\n~~~"),
        ("Limitations", "It may be wrong."),
    ]


@pytest.mark.parametrize("before", ["Words.\n\n", ""])
def test_a_long_section_is_cut_before_the_code_that_does_not_fit(before: str, tmp_path: Path) -> None:
    """And not within it, also where nothing else is left."""
    code = "```\n" + "print(1)\n\n" * (MOST_CHARACTERS // 9) + "```\n"
    (tmp_path / "README.md").write_text(f"# Uses\n\n{before}{code}", encoding="utf-8")
    ((_, text),) = uses_of(tmp_path)
    assert text == f"{before.strip()}\n\n(The rest is in the source's card.)"


def test_a_folder_without_a_card_tells_nothing(tmp_path: Path) -> None:
    """A local model often has none."""
    assert uses_of(tmp_path) == []
