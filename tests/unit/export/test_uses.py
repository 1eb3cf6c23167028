"""What the source's card says of uses and limits is found by its headings."""

from __future__ import annotations

from pathlib import Path

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


def test_a_folder_without_a_card_tells_nothing(tmp_path: Path) -> None:
    """A local model often has none."""
    assert uses_of(tmp_path) == []
