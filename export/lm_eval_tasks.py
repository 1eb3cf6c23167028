"""The task files of lm-evaluation-harness: which of the tasks asked for read texts as wholes.

Owns how a task is found by its name: in a file, with what that includes, or in the list of a group. Knows
neither the harness's process nor models.

Source: https://github.com/EleutherAI/lm-evaluation-harness/blob/main/docs/task_guide.md
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from export.errors import ExportError, first_line

Fields = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """Passes over `!function`, which names code."""


_Loader.add_multi_constructor("!", lambda *_: None)


def read_wholes(names: str, folder: Path) -> set[bool]:
    """Whether tasks score texts from their first token on; of tasks that differ in that, both.

    Raises: ExportError, OSError, naming the file that includes what is not there, or lists it.
    """
    files = {file: _read(file) for file in sorted(folder.rglob("*.yaml"))}
    return {kind for name in names.split(",") for kind in _kinds(name, files)}


def _kinds(name: str, files: dict[Path, Fields]) -> Iterator[bool]:
    for file, told in files.items():
        if told.get("task") == name:
            yield _with_included(file, told).get("output_type") == "loglikelihood_rolling"
        elif told.get("group") == name:
            for each in told.get("task") or ():
                listed = str(each.get("task") if isinstance(each, dict) else each)
                kinds = list(_kinds(listed, files))
                if not kinds:
                    raise ExportError(f"{file}: task: {listed!r} is the name of no task in this folder")
                yield from kinds


def _with_included(file: Path, told: Fields) -> Fields:
    included = told.get("include") or []
    for other in [included] if isinstance(included, str) else reversed(included):
        path = file.parent / other
        if not path.is_file():
            raise ExportError(f"{file}: include: {other!r}, there is no such file")
        told = _with_included(path, _read(path)) | told
    return told


def _read(file: Path) -> Fields:
    try:
        told = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    except (ValueError, yaml.YAMLError) as error:
        raise ExportError(f"{file}: not YAML: {first_line(error)}") from None
    return told if isinstance(told, dict) else {}
