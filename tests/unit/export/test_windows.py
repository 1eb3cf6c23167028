"""Windows are read as transformers reads them, where a config says little."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from export.config import Config
from export.errors import ExportError
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


@pytest.mark.parametrize("family", [qwen2.FAMILY, qwen3.FAMILY], ids=lambda family: family.name)
def test_every_layer_may_have_a_window(family: Family) -> None:
    """Those from the first one on, where `max_window_layers` is 0."""
    told = {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 0}
    fields = config_of(family.name, **told).to_dict()
    assert fields.pop("layer_types") == ["sliding_attention"] * 3
    facts = family.read(Config(fields, Path("config.json")))
    assert [each.window for each in facts.attention] == [16] * 3
    with pytest.raises(ExportError, match="max_window_layers: -1, must be a whole number, 0 or more"):
        family.read(Config({**fields, "max_window_layers": -1}, Path("config.json")))
