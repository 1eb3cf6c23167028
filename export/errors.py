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
    """The finished graph is not the model; the message lists every check that failed."""

    def __init__(self, failures: list[str]) -> None:
        super().__init__("the exported graph is not the model: " + "; ".join(failures))
        self.failures = failures
