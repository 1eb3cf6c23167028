"""Pages of documentation whose tables are computed: what stands between two marks is replaced, the rest kept.

    <!-- figures: cost -->
    ...
    <!-- end of figures -->

A test fills each page again and compares, so that no number drifts from what it was computed from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

BLOCK = re.compile(r"(<!-- figures: ([a-z-]+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def fill(text: str, blocks: Mapping[str, Sequence[str]]) -> str:
    """The page with these lines in its blocks. Raises: ValueError where page and blocks do not fit."""
    there = {found[2] for found in BLOCK.finditer(text)}
    if there != set(blocks):
        raise ValueError(f"the page has blocks for {sorted(there)}, there are figures for {sorted(blocks)}")
    return BLOCK.sub(lambda found: found[1] + "\n".join(blocks[found[2]]) + "\n" + found[3], text)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]
