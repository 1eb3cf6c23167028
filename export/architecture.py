"""transformers' own config of a checkpoint, whichever version of transformers saved it.

Owns nothing but the reading: every model that judges, rounds or measures is made from this config. Does not
know what a field means.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from export.config import Config
from export.graph.rope import as_in_transformers_4


def load_config(folder: Path) -> Any:
    """The config in `folder`; what transformers 5 spells in its own way, the installed 4 would overlook."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    fields = Config.load(folder).fields
    return type(config).from_dict(as_in_transformers_4(fields)) if "rope_parameters" in fields else config
