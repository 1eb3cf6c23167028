"""Windows are read as transformers reads them, where a config says little."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from export.config import Config
from export.graph import qwen2, qwen3
from export.graph.facts import Family
from tests.checkpoints import config_of


@pytest.mark.parametrize("family", [qwen2.FAMILY, qwen3.FAMILY], ids=lambda family: family.name)
@pytest.mark.parametrize(
    ("told", "window"),
    [({}, 4096), ({"sliding_window": 16}, 16), ({"sliding_window": None}, None)],
    ids=["not told", "told", "null"],
)
def test_windows_switched_on_are_as_wide_as_told(
    family: Family, told: dict[str, Any], window: int | None
) -> None:
    """A window of null is none at all; one that is not told is Qwen's own."""
    switched_on = {"use_sliding_window": True, "max_window_layers": 1}
    fields = config_of(family.name, **switched_on, **told).to_dict()
    fields = {name: value for name, value in fields.items() if name not in ("layer_types", "sliding_window")}
    facts = family.read(Config({**fields, **told}, Path("config.json")))
    assert [each.window for each in facts.attention] == [None, window, window]
    reference = config_of(family.name, **switched_on, **told)
    assert [kind == "sliding_attention" for kind in reference.layer_types] == [False, *[bool(window)] * 2]
