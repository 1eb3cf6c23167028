"""Options that ask for what cannot be: mixed precision and rounding where they do not go together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from export.errors import ExportError
from export.pipeline import Options, export_bundle
from export.stages import Stages
from tests.conftest import TinyCheckpoint


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target_kl": 1e-9}, "--target-kl: 1e-09 nats cannot be met: all in eight bits is"),
        ({"target_size": "1KB"}, "--target-size: 0.001 MB cannot be met: all in four bits takes more than"),
        ({"target_size": "1MB", "quant": "int8"}, "--target-size: mixes int4 and int8; --quant int8 leaves"),
        ({"target_kl": 0.1, "way": "universal"}, "for fused graphs; the universal way has one recipe"),
        ({"quant": "fp32", "asymmetric": True}, "--asymmetric: fp32 rounds nothing"),
        ({"calibration": Path("missing.txt")}, "--calibration: missing.txt cannot be read"),
        ({"calibration": Path("LICENSE"), "quant": "int8"}, "read by --rounding gptq alone, int8 is"),
        ({"rounding": "gptq", "quant": "fp32"}, "--rounding: gptq, fp32 rounds nothing"),
        ({"rounding": "gptq", "way": "universal"}, "gptq is for fused graphs"),
    ],
)
def test_what_cannot_be_is_refused(
    options: dict[str, Any], said: str, tiny_checkpoint: TinyCheckpoint, tmp_path: Path
) -> None:
    """The option is named, what can be had is said where it is known, and nothing is left behind."""
    asked = Options(str(tiny_checkpoint("llama")), tmp_path / "out", **options)
    with pytest.raises(ExportError, match=said):
        export_bundle(asked, Stages(Console(quiet=True)))
    assert list(tmp_path.iterdir()) == []
