"""Mixed precision and asymmetric weights on real graphs: measured, kept to, exact, and told."""

from __future__ import annotations

import copy
import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from transformers import AutoModelForCausalLM

from export.evaluate import Fidelity
from export.frontier import sweep
from export.fused import Named
from export.graph import FAMILIES, family_of
from export.mixed.alternatives import loaded_bytes
from export.mixed.sensitivity import divergences
from export.mixed.units import Unit, units_of
from export.pipeline import Options, export_bundle
from export.quantize import Recipe, dequantize_rows, quantize_rows
from export.reference import attention_of
from export.source import resolve
from export.stages import Stages
from export.verdict import Verdict
from handler.engine import load
from handler.engine.bundle import Manifest, read_manifest
from tests.conftest import TinyBundle, TinyCheckpoint

NAMES = tuple(family.name for family in FAMILIES)
IDS = [int(i) for i in np.random.default_rng(3).integers(3, 500, 64)]
INT4 = Recipe.named("int4")


def export(source: Path, out: Path, **options: Any) -> Path:
    export_bundle(Options(str(source), out, **options), Stages(Console(quiet=True)))
    return out


def rounded_by_hand(model: Any, unit: Unit) -> Any:
    """transformers' model with one matrix of the graph rounded."""
    changed = copy.deepcopy(model)
    block = INT4.block_in(unit.width, is_table=unit.is_table)
    with torch.no_grad():
        for name in unit.tensors:
            weight = changed.get_parameter(name)
            rows = (weight.T if unit.transposed else weight).contiguous().numpy()
            stored = torch.from_numpy(dequantize_rows(quantize_rows(rows, 4, block), 4, unit.width))
            weight.copy_(stored.T if unit.transposed else stored)
    return changed


@pytest.mark.parametrize("family", NAMES)
def test_a_matrix_is_as_sensitive_as_when_it_alone_is_rounded(
    family: str, tiny_checkpoint: TinyCheckpoint
) -> None:
    """The one pass gives each matrix the divergence of a whole model with that matrix rounded, to 1 %."""
    checkpoint = resolve(str(tiny_checkpoint(family)))
    facts = family_of(checkpoint.config, FAMILIES).read(checkpoint.config)
    units = units_of(facts, INT4)
    with checkpoint.weights() as weights:
        named = Named(weights, facts)
        found = divergences(checkpoint.folder, named, facts, INT4, units, IDS, lambda _: None)
    model = AutoModelForCausalLM.from_pretrained(checkpoint.folder, dtype=torch.float32).eval()
    model.config._attn_implementation = attention_of(model.config)
    with torch.no_grad():
        log_p = model(torch.tensor([IDS])).logits[0].double().log_softmax(-1)
        for unit in units:
            logits = rounded_by_hand(model, unit)(torch.tensor([IDS])).logits[0]
            log_q = logits.double().log_softmax(-1)
            expected = float((log_p.exp() * (log_p - log_q)).sum(-1).mean())
            assert found[unit.name] == pytest.approx(expected, rel=0.01, abs=1e-6), unit.name


@pytest.mark.parametrize("family", NAMES)
def test_every_family_mixed_passes_the_gate_and_is_exact(
    family: str, tiny_checkpoint: TinyCheckpoint, tiny_bundle: TinyBundle, tmp_path: Path
) -> None:
    """Half-way between four and eight bits: the size is kept, the graph is the model, cuts change no bit."""
    sizes = [loaded_bytes(tiny_bundle(family, quant)) for quant in ("int4", "int8")]
    target = sum(sizes) // 2
    manifest = read_manifest(
        export(tiny_checkpoint(family), tmp_path / "bundle", target_size=f"{target / 1000:.3f}KB")
    )
    found = manifest.quantization
    assert sizes[0] < loaded_bytes(tmp_path / "bundle") <= target
    assert (found.recipe, found.bits, found.head_bits) == ("mixed", 4, 8 if "head" in found.widened else 4)
    assert found.widened
    assert manifest.exact
    assert manifest.fidelity["checks"]["values"] <= 2e-4
    engine = load(tmp_path / "bundle")
    assert len(list(engine.generate(IDS[:9], engine.params(temperature=0), max_tokens=4))) > 0


@pytest.mark.parametrize("quant", ["int4", "int8"])
@pytest.mark.parametrize("family", NAMES)
def test_every_family_asymmetric_passes_the_gate_and_is_exact(
    family: str, quant: str, tiny_checkpoint: TinyCheckpoint, tmp_path: Path
) -> None:
    """A code of zero for each block, in products and look-ups, at four bits and at eight."""
    out = export(tiny_checkpoint(family), tmp_path / "bundle", quant=quant, asymmetric=True)
    manifest = read_manifest(out)
    assert not manifest.quantization.symmetric
    assert manifest.exact
    assert manifest.fidelity["checks"]["values"] <= 2e-4


def test_padded_rows_and_a_head_of_its_own_mix_and_are_asymmetric(tmp_path: Path) -> None:
    """Widths no block divides, an odd number of blocks a row, embedding and head apart."""
    from tests.checkpoints import write_checkpoint

    changes = {"hidden_size": 40, "intermediate_size": 100, "head_dim": 16, "tie_word_embeddings": False}
    source = write_checkpoint(tmp_path / "source", "llama", **changes)
    out = export(source, tmp_path / "bundle", asymmetric=True, target_kl=0.05)
    assert read_manifest(out).exact


def test_a_divergence_asked_for_is_kept_in_the_finished_bundle(
    tiny_checkpoint: TinyCheckpoint, tiny_bundle: TinyBundle, tmp_path: Path
) -> None:
    """Half of int4's divergence: measured as the judge does, recorded, smaller than int8."""
    int4, int8 = (tiny_bundle("llama", quant) for quant in ("int4", "int8"))
    target = read_manifest(int4).fidelity["kl_mean"] / 2
    mixed = export(tiny_checkpoint("llama"), tmp_path / "mixed", target_kl=target)
    manifest = read_manifest(mixed)
    assert manifest.fidelity["kl_mean"] <= target
    assert loaded_bytes(int4) < loaded_bytes(mixed) < loaded_bytes(int8)
    assert manifest.quantization.target == f"KL {target:g} nats"
    facts = json.loads((mixed / "report" / "report.json").read_text())["sections"]["precision"]
    assert facts["chosen"]["widened"] == sorted(manifest.quantization.widened)
    assert facts["trials"][-1]["kl"] == pytest.approx(manifest.fidelity["kl_mean"], rel=1e-6)


def test_a_frontier_sets_recipes_side_by_side(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    """Every recipe once, the bundle itself as the one chosen, each with size, divergence and speed."""
    out = export(tiny_checkpoint("llama"), tmp_path / "bundle", frontier=True)
    facts = json.loads((out / "report" / "report.json").read_text())["sections"]["frontier"]
    points = {point["name"]: point for point in facts["points"]}
    assert facts["chosen"] == "int4, block 128"
    assert {"fp32", "int8, block 128", "int4, block 32", "int4, block 64", "int4, block 128"} <= points.keys()
    assert sum(name.startswith("mixed") for name in points) == 2
    assert points["fp32"]["kl"] < points["int8, block 128"]["kl"] < points["int4, block 128"]["kl"]
    assert all(point["speed"]["decode_tokens_per_s"] > 0 for point in points.values())
    assert points["fp32"]["size_bytes"] == max(point["size_bytes"] for point in points.values())
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_recipe_that_finds_no_room_costs_the_bundle_nothing(
    tiny_bundle: TinyBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One on the disk, one when it is run: both are told, and the others are measured.

    All of them lie in the folder of the bundle in the making, which is swept when it is left unfinished.
    """
    folder = tmp_path / "bundle"
    shutil.copytree(tiny_bundle("llama", "int4"), folder)

    def export(options: Options, _stages: Stages) -> Manifest:
        assert options.out.is_relative_to(folder)
        if options.quant == "fp32":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(options.out))
        shutil.copytree(tiny_bundle("llama", options.quant), options.out)
        if options.quant == "int8":
            (options.out / "model.onnx").write_bytes(b"")
        return read_manifest(options.out)

    sound = Fidelity(9, 0.1, 0.1, 0.1, 1.0, 2.0, 2.0)
    options = Options("nowhere", tmp_path / "out", frontier=True)
    section = sweep(options, folder, Verdict((), sound, exact=True), export, Stages(Console(quiet=True)))
    assert [point["name"] for point in section.facts["points"]] == ["int4, block 128"]
    left_out = section.facts["left_out"]
    assert list(left_out) == ["fp32", "int8, block 128"]
    assert left_out["fp32"].endswith("fp32: No space left on device")
    assert left_out["int8, block 128"].startswith("cannot be run: load: ")
    told = capsys.readouterr().err
    for recipe, reason in left_out.items():
        assert f"Left out: {recipe}: {reason}" in section.text
        assert f"export: {recipe}: {reason}\n" in told
    assert not list(folder.glob(".frontier-*"))
