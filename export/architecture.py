"""transformers' own config of a checkpoint, whichever version of transformers saved it.

Owns nothing but the reading: every model that judges, rounds or measures is made from this config. Does not
know what a field means.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from export.config import Config
from export.errors import ExportError, first_line
from export.graph.rope import as_in_transformers_4


def load_config(folder: Path) -> Any:
    """The config in `folder`; what transformers 5 spells in its own way, the installed 4 would overlook.

    Raises: ExportError naming the file, for what transformers' own class of this config refuses.
    """
    from transformers import AutoConfig

    import export.reader  # noqa: F401  makes it known to transformers

    ours = Config.load(folder)
    if not isinstance(ours.fields.get("model_type"), str):  # transformers would guess from the folder's name
        raise ExportError(f"{ours.path}: model_type: missing; it names the model's class in transformers")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        if "rope_parameters" not in ours.fields:
            return config
        return type(config).from_dict(as_in_transformers_4(ours.fields))
    except Exception as error:  # each class checks its fields in its own way
        raise ExportError(f"{ours.path}: transformers cannot read it: {first_line(error)}") from None
