"""A bundle made the universal way, of the very checkpoint that the fused one is made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console


@pytest.fixture(scope="session")
def universal_bundle(
    tiny_checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """tiny-llama in fp32 by optimum, in the "concat" layout."""
    from export.pipeline import Options, export_bundle
    from export.stages import Stages

    out = tmp_path_factory.mktemp("bundle") / "tiny-llama-universal"
    checkpoint = str(tiny_checkpoint("llama"))
    export_bundle(Options(checkpoint, out, "fp32", way="universal"), Stages(Console(quiet=True)))
    return out
