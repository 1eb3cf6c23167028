"""The embedded model's report in the documentation is what `make report` gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from export.pipeline import Options, export_bundle
from export.stages import Stages

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.timeout(1_800)  # the frontier is seven exports more
RECORDED = ROOT / "docs" / "report" / "house.json"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The report of a run here, by the recorded recipe."""
    out = tmp_path_factory.mktemp("house")
    recipe = json.loads(RECORDED.read_text())["quantization"]["recipe"]
    source = ROOT / "models" / "house" / "checkpoint"
    options = Options(
        str(source),
        out / "bundle",
        recipe,
        dialogues=source / "dialogues.jsonl",
        frontier=True,
        report_to=out / "docs" / "house",
        probes=True,
    )
    export_bundle(options, Stages(Console(quiet=True)))
    return out / "docs"


def test_a_fresh_run_gives_the_recorded_numbers(fresh: Path) -> None:
    """All but the run's own facts: time, tools, cores, speeds.

    Sums run in an order that the instruction set and the number of cores decide: on others than the recorded
    ones the same checks pass, and the numbers are the reader's to compare.
    """
    recorded, found = (json.loads(file.read_text()) for file in (RECORDED, fresh / "house.json"))
    same = recorded["instruction_set"] == found["instruction_set"]
    same = same and recorded["run"]["cores"] == found["run"]["cores"]
    for report in (recorded, found):
        del report["run"]
        for point in report["sections"]["frontier"]["points"]:
            del point["speed"]
        if not same:
            report["sections"] = {key: sorted(facts) for key, facts in report["sections"].items()}
            for machine in ("instruction_set", "bundle_bytes", "file_bytes"):
                del report[machine]
    assert found == recorded


def test_the_documentation_holds_all_three_forms(fresh: Path) -> None:
    """HTML for people, Markdown for repositories, JSON for CI, of one and the same model."""
    assert {file.name for file in fresh.iterdir()} == {"house.html", "house.json", "house.md"}
    revision = json.loads(RECORDED.read_text())["source"]["revision"]
    for kind in ("html", "md"):
        assert revision in RECORDED.with_suffix(f".{kind}").read_text("utf-8")
