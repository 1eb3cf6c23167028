"""What an export refuses, as one error whose message is one line for the person at the keyboard."""

from __future__ import annotations

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
