"""What an export shows of its stages, and the time that they took."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from export.stages import Stages


@pytest.mark.parametrize("path", ["/models/[v2]/chat", "/models/chat[/v2]"])
def test_names_are_shown_as_they_are(path: str) -> None:
    """Brackets in a folder's name are no markup, on a terminal and in a log."""
    for terminal in (False, True):
        shown = io.StringIO()
        stages = Stages(Console(file=shown, force_terminal=terminal, color_system=None, width=200))
        with stages.stage("source", path):
            pass
        stages.note(f"{path}: made before")
        assert f"source     {path}  0." in shown.getvalue()
        assert f"{path}: made before" in shown.getvalue()


def test_a_stage_gone_through_twice_took_the_time_of_both() -> None:
    """As those of a mix are, which is built until it keeps its target."""
    stages = Stages(Console(quiet=True))
    stages.seconds["graph"] = 100.0
    with stages.stage("graph", "int4"):
        pass
    assert 100.0 < stages.seconds["graph"] < 200.0
    assert stages.anew().seconds == {}
