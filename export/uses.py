"""What a model's own card says of its uses and limits, so that it goes with the bundle.

Owns which headings tell that. Does not judge what they say.
"""

from __future__ import annotations

import re
from pathlib import Path

HUB_CARD_FILE = "README.md"
MOST_CHARACTERS = 4000  # of one section: a card may hold a whole paper
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
_CODE = re.compile(r"^ *(`{3,}|~{3,})[^`\n]*\n.*?(?:^ *\1|\Z)", re.MULTILINE | re.DOTALL)
_TELLING = re.compile(r"\b(uses?|intended|limitations?|scope|risks?|can do|cannot do)\b", re.IGNORECASE)


def uses_of(folder: Path) -> list[tuple[str, str]]:
    """Heading and text of the sections on uses and limits in the folder's card, if it has one."""
    try:
        card = (folder / HUB_CARD_FILE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    marked = _HEADING.finditer(card)
    headings = [each for each in marked if _code_around(card, each.start()) is None]  # else a comment in it
    ends = [*(each.start() for each in headings[1:]), len(card)]
    texts = (card[each.end() : end].strip() for each, end in zip(headings, ends, strict=False))
    found = zip((each.group(1) for each in headings), texts, strict=True)
    return [(title, _cut(text)) for title, text in found if _TELLING.search(title) and text]


def _cut(text: str) -> str:
    if len(text) <= MOST_CHARACTERS:
        return text
    end = text.rfind("\n\n", 0, MOST_CHARACTERS)
    end = MOST_CHARACTERS if end < 0 else end
    code = _code_around(text, end)  # cut within, it would take in all that follows
    return text[: end if code is None else code].strip("\n") + "\n\n(The rest is in the source's card.)"


def _code_around(text: str, at: int) -> int | None:
    """Where the block of code begins that `at` is within; None where it is within none."""
    return next((each.start() for each in _CODE.finditer(text) if each.start() < at < each.end()), None)
