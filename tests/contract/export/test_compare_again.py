"""A comparison goes on: past a model that fails, and after Ctrl-C from the bundles that were finished."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from export.__main__ import main
from export.compare.models import bundle_of, is_made
from export.pipeline import Options
from export.stages import Stages
from handler.engine.bundle import MANIFEST, read_manifest, write_manifest
from tests.conftest import TinyBundle, TinyCheckpoint


def test_a_model_that_fails_leaves_the_others_in_the_table(
    tiny_bundle: TinyBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that is nowhere and one that is damaged: told, named under the table, and the exit code is 1."""
    damaged = tmp_path / "damaged"
    shutil.copytree(tiny_bundle("gpt2", "int8"), damaged)
    (damaged / "model.onnx").write_bytes(b"not a graph")
    sources = ["./nowhere", str(tiny_bundle("llama", "int8")), str(damaged)]
    assert main(["compare", *sources, "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    facts = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert [model["name"] for model in facts["models"]] == ["tiny-llama-int8"]
    assert list(facts["left_out"]) == ["./nowhere", str(damaged)]
    assert "model.onnx" in facts["left_out"][str(damaged)]
    for source, why in facts["left_out"].items():
        assert f"export: {source}: {why}\n" in said.err
        assert f"Left out: {source}: {why}" in said.out
        assert f"Left out: {source}: {why}" in (tmp_path / "out" / "compare.md").read_text()


class Gated(Stages):
    """Meets Ctrl-C where the gate begins."""

    @contextmanager
    def stage(self, name: str, detail: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        if name == "verify":
            signal.raise_signal(signal.SIGINT)
        with super().stage(name, detail, total) as done:
            yield done


class Interrupted(Stages):
    """Meets Ctrl-C in the second export that it shows."""

    shown = 0

    def anew(self) -> Stages:
        self.shown += 1
        return Gated() if self.shown == 2 else super().anew()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT is heard: a process that a shell has begun in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_comparison_goes_on_where_it_was(
    tiny_checkpoint: TinyCheckpoint,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was finished is named, is kept, and is not made again."""
    out = tmp_path / "out"
    arguments = ["compare", *(str(tiny_checkpoint(name)) for name in ("llama", "gpt2")), "--out", str(out)]
    arguments += ["--quant", "fp32"]
    kept = out / "bundles" / "tiny-llama" / MANIFEST
    with monkeypatch.context() as patch:
        patch.setattr("export.compare.command.Stages", Interrupted)
        assert main(arguments) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    kept_for = f"{out / 'bundles'} keeps tiny-llama for the next run"
    assert line == f"export: interrupted, no table was written; {kept_for}"
    content = kept.read_bytes()
    assert main(arguments) == 0
    assert f"{kept.parent}: made before, taken as it is" in capsys.readouterr().err
    assert kept.read_bytes() == content
    models = json.loads((out / "compare.json").read_text())["models"]
    assert [model["name"] for model in models] == ["tiny-llama", "tiny-gpt2"]


def test_a_report_tells_the_time_of_its_own_export(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    """And not that of the model before it, which went through other stages."""
    stages = Stages(Console(quiet=True))
    stages.seconds["rounding"] = 1000.0
    recipe = Options("", tmp_path, "fp32")
    bundle = bundle_of(str(tiny_checkpoint("llama")), "llama", recipe, tmp_path / "bundles", stages)
    told = json.loads((bundle / "report" / "report.json").read_text())["run"]["stage_s"]
    assert "graph" in told
    assert "rounding" not in told


def test_a_bundle_is_taken_again_for_the_same_source_and_recipe_alone(
    tiny_checkpoint: TinyCheckpoint, tiny_bundle: TinyBundle, tmp_path: Path
) -> None:
    """Other weights, another recipe or a damaged file, and it is made anew."""
    options = Options(str(tiny_checkpoint("llama")), tiny_bundle("llama", "int4"))
    assert is_made(options)
    assert is_made(Options(str(tiny_checkpoint("gpt2")), tiny_bundle("gpt2", "int8"), "int8"))
    changes: tuple[dict[str, Any], ...] = (
        {"quant": "int8"},
        {"quant": "fp32"},
        {"block": 64},
        {"rounding": "nearest"},
        {"asymmetric": True},
        {"source": str(tiny_checkpoint("qwen2"))},
        {"out": tmp_path / "nothing"},
    )
    for change in changes:
        assert not is_made(dataclasses.replace(options, **change)), change
    damaged = tmp_path / "damaged"
    shutil.copytree(options.out, damaged)
    assert is_made(dataclasses.replace(options, out=damaged))
    (damaged / "golden.json").write_text("{}")
    assert not is_made(dataclasses.replace(options, out=damaged))


@pytest.mark.parametrize(
    "name", ["config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja", "README.md"]
)
def test_a_bundle_is_made_anew_where_the_folder_changed_around_its_weights(
    name: str, tiny_checkpoint: TinyCheckpoint, tiny_bundle: TinyBundle, tmp_path: Path
) -> None:
    """The weights' hash is the same; also where another file of an older time was moved there."""
    source, out = tmp_path / "tiny-llama", tmp_path / "bundle"
    shutil.copytree(tiny_checkpoint("llama"), source)
    shutil.copytree(tiny_bundle("llama", "int4"), out, copy_function=shutil.copy)  # as if made now
    options = Options(str(source), out)
    assert is_made(options)
    other = tmp_path / name
    other.write_text("{}")
    os.utime(other, (0, 0))
    other.replace(source / name)
    if name == "config.json":  # read before anything is compared
        shutil.copy2(tiny_checkpoint("llama") / name, source / name)
    assert not is_made(options)


def test_a_bundle_accepted_once_is_not_taken_without_a_reason(
    tiny_checkpoint: TinyCheckpoint, tiny_bundle: TinyBundle, tmp_path: Path
) -> None:
    """`--accept` is for the run that gives it."""
    out = tmp_path / "bundle"
    shutil.copytree(tiny_bundle("llama", "int4"), out)
    manifest = read_manifest(out)
    told = {**manifest.fidelity, "accepted": {"reason": "to look at it", "failed": ["values"]}}
    write_manifest(out, dataclasses.replace(manifest, fidelity=told))
    options = Options(str(tiny_checkpoint("llama")), out)
    assert not is_made(options)
    assert is_made(dataclasses.replace(options, accept="again"))
