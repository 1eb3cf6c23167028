"""What an export refuses, as one error whose message is one line for the person at the keyboard.

Owns as well how an error of the operating system is told, and which file it is about.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from handler.errors import DormouseError


class ExportError(DormouseError):
    """The export cannot go on; the message says which file or field, what was wrong and what is allowed."""


class UnknownArchitecture(ExportError):
    """No fused family is registered for this architecture; the universal way may still take it."""


class UnsupportedFeature(ExportError):
    """The family is known, but this checkpoint asks for something its graph does not compute."""


class VerificationError(ExportError):
    """What was made is not the model; the message lists every check that failed, and what can be done."""

    def __init__(self, failures: list[str], advice: str = "") -> None:
        super().__init__("not the model, so no bundle: " + "; ".join(failures) + advice)
        self.failures = failures


def reason(error: DormouseError | OSError) -> str:
    """One line: the message of what was raised on purpose, the file and what the system says of it."""
    if isinstance(error, OSError) and error.strerror:
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        return ": ".join(filter(None, (" -> ".join(names), error.strerror)))
    return first_line(error)


def first_line(error: Exception) -> str:
    """The first line of its message, or what it is where it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


@contextmanager
def about(file: Path) -> Iterator[None]:
    """Errors of the operating system within are about `file`: of an open file none gives its name."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(file)
        raise
