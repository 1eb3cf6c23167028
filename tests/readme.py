"""The READMEs as their reader meets them: text, chapters, and the fenced blocks to be typed in."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.zh-CN.md")
DEPLOYMENT = {"README.md": "Deploy", "README.zh-CN.md": "部署"}
"""The chapter that needs a cloud, by README."""

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CHAPTER = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def text_of(name: str) -> str:
    """Read one of the READMEs."""
    return (ROOT / name).read_text(encoding="utf-8")


def deployment(name: str) -> str:
    """The text of a README's chapter that needs a cloud."""
    return dict(_CHAPTER.findall(text_of(name)))[DEPLOYMENT[name]]


def examples(text: str) -> list[tuple[str, str]]:
    """The blocks that are executed, as (language, text); `sh` marks those that are not."""
    return [pair for pair in _FENCE.findall(text) if pair[0] in ("bash", "python")]
