"""Which tasks of lm-evaluation-harness read texts as wholes, as their files say it."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.errors import ExportError
from export.lm_eval_tasks import read_wholes

FILES = {
    "wholes": "task: wholes\noutput_type: loglikelihood_rolling\nprocess_docs: !function code.clean\n",
    "like": "include: wholes.yaml\ntask: like\n",
    "unlike": "include: [wholes.yaml]\ntask: unlike\noutput_type: multiple_choice\n",
    "group": "group: both\ntask:\n  - like\n  - task: unlike\n",
    "groups": "group: nested\ntask: [both]\n",
    "lost": "include: nowhere.yaml\ntask: lost\n",
    "broken": "group: broken\ntask: [like, nobody]\n",
}


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A folder of task files."""
    for name, text in FILES.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("names", "kinds"),
    [
        ("wholes", {True}),
        ("like", {True}),
        ("unlike", {False}),
        ("like,unlike", {True, False}),
        ("nested", {True, False}),
        ("another's", set()),
    ],
)
def test_a_task_is_found_wherever_it_is_told(names: str, kinds: set[bool], tasks: Path) -> None:
    """In its file, in what that includes and may contradict, in groups of groups."""
    assert read_wholes(names, tasks) == kinds


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lost", r"lost\.yaml: include: 'nowhere\.yaml', there is no such file"),
        ("broken", r"broken\.yaml: task: 'nobody' is the name of no task in this folder"),
    ],
)
def test_what_leads_to_nothing_is_named(name: str, said: str, tasks: Path) -> None:
    """The file and the field; the harness says that it does not know the task, or ends in a traceback."""
    with pytest.raises(ExportError, match=said):
        read_wholes(name, tasks)


def test_a_file_that_is_no_yaml_is_named(tasks: Path) -> None:
    """The harness passes over it, and then knows none of its tasks."""
    (tasks / "open.yaml").write_text("task: [open\n")
    with pytest.raises(ExportError, match=r"open\.yaml: not YAML: "):
        read_wholes("open", tasks)
