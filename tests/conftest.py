"""Models for every test: tiny random checkpoints and their bundles, each made once a session."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from rich.console import Console

from tests.checkpoints import write_checkpoint

TinyCheckpoint = Callable[[str], Path]
TinyBundle = Callable[..., Path]

settings.register_profile("patient", settings(), deadline=None)  # a busy machine is no failure
settings.load_profile("patient")

# What whoever runs the tests has set for themselves is none of the tests', and no proxy is for this machine.
for _name in [name for name in os.environ if name.startswith(("AWS_", "DORMOUSE_"))]:
    del os.environ[_name]
os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost," + (
    os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")
)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> TinyCheckpoint:
    """`tiny_checkpoint(family)`: a Hugging Face folder with random weights; read it, never write to it."""
    made: dict[str, Path] = {}

    def get(family: str) -> Path:
        if family not in made:
            made[family] = write_checkpoint(tmp_path_factory.mktemp("checkpoint") / f"tiny-{family}", family)
        return made[family]

    return get


@pytest.fixture(scope="session")
def tiny_bundle(tiny_checkpoint: TinyCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> TinyBundle:
    """`tiny_bundle(family="llama", quant="int4")`: the exported bundle; read it, never write to it."""
    from export.pipeline import Options, export_bundle
    from export.stages import Stages

    made: dict[tuple[str, str], Path] = {}

    def get(family: str = "llama", quant: str = "int4") -> Path:
        if (family, quant) not in made:
            out = tmp_path_factory.mktemp("bundle") / f"tiny-{family}-{quant}"
            export_bundle(Options(str(tiny_checkpoint(family)), out, quant), Stages(Console(quiet=True)))
            made[family, quant] = out
        return made[family, quant]

    return get


@pytest.fixture(scope="session")
def house_bundle() -> Path:
    """The embedded model's bundle, as it lies in the repository."""
    return Path(__file__).parents[1] / "models" / "house" / "bundle"
