"""Options of the bench's commands: a text becomes a value, or is refused with what would do."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable, Collection
from pathlib import Path


def some_of(known: Collection[str]) -> Callable[[str], list[str]]:
    """Names of these, comma-separated."""

    def parse(text: str) -> list[str]:
        wanted = text.split(",")
        if unknown := [name for name in wanted if name not in known]:
            raise ArgumentTypeError(f"{', '.join(unknown)}: unknown; known are {', '.join(known)}")
        return wanted

    return parse


def count(text: str) -> int:
    """A number of things of which there has to be one."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text}: not a whole number of 1 or more")
    return int(text)


def bundle(text: str) -> Path:
    """A folder that an export has finished."""
    if not (Path(text) / "bundle.json").is_file():
        raise ArgumentTypeError(f"{text}: no bundle is there")
    return Path(text)
