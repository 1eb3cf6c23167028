"""A bundle whose bits depend on how they are computed is seen, marked, and served without guesses."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from rich.console import Console

from export.conversion import Converted
from export.exactness import compare_chunks, compare_guesses, compare_prefix, compare_threads, compare_ways
from export.judge import Texts, judge
from export.served import all_logits, computed, open_model
from export.stages import Stages
from export.texts import Sample
from handler.engine import cpu, load
from handler.engine.bundle import Manifest, read_manifest, sealed
from tests.conftest import TinyBundle

IDS = [int(i) for i in np.random.default_rng(3).integers(3, 500, 64)]
INVARIANCES = ("chunk invariance", "prefix invariance", "guess invariance", "thread invariance")


def paired(bundle: Path, _copy: Path) -> tuple[Path, Manifest]:
    """int4 at block 128 without the rule of even row counts."""
    return bundle, dataclasses.replace(read_manifest(bundle), row_multiple=1)


def dynamically_quantized(bundle: Path, copy: Path) -> tuple[Path, Manifest]:
    """One product whose activations are rounded by the largest of all rows of a call."""
    shutil.copytree(bundle, copy)
    model = onnx.load(copy / "model.onnx", load_external_data=False)
    node = next(n for n in model.graph.node if n.op_type == "MatMulNBits" and "mlp.output" in n.input[1])
    sizes = {a.name: a.i for a in node.attribute}
    weights = np.random.default_rng(5).integers(-9, 9, (sizes["K"], sizes["N"])).astype(np.int8)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "planted.weights"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.02), "planted.scale"))
    names = [node.input[0], "planted.weights", "planted.scale"]
    planted = onnx.helper.make_node("DynamicQuantizeMatMul", names, node.output, domain="com.microsoft")
    node.CopyFrom(planted)
    (copy / "model.onnx").write_bytes(model.SerializeToString())
    return copy, read_manifest(copy)


PLANTED = [paired, dynamically_quantized]


def judged(folder: Path, manifest: Manifest) -> Any:
    """The judge's verdict, on a model that is compared with itself."""
    model = open_model(folder, manifest, threads=1)
    converted = Converted(
        dims=manifest.dims,
        graph=manifest.graph,
        quantization=manifest.quantization,
        context_tokens=manifest.context_tokens,
        way="fused",
        row_multiple=manifest.row_multiple,
        unquantized=lambda texts, past: computed(model, texts, past),
        unquantized_rows=lambda texts, rows: pytest.fail("no probe is asked for"),
        unquantized_answers=lambda prompts, most, eos: pytest.fail("no probe is asked for"),
        stored=None,
    )
    return judge(folder, manifest, converted, Texts([Sample("text", IDS)]), Stages(Console(quiet=True)))


@pytest.mark.parametrize("plant", PLANTED)
def test_a_planted_fault_is_marked_not_exact(plant: Any, tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    """The judge lets such a bundle pass, and says that it is not exact."""
    verdict = judged(*plant(tiny_bundle("llama", "int4"), tmp_path / "copy"))
    assert not verdict.exact
    assert {check.name for check in verdict.checks} >= set(INVARIANCES)


@pytest.mark.parametrize("plant", PLANTED)
def test_every_way_of_computing_sees_the_fault(plant: Any, tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    """Cuts, a cached prefix and guesses each show it by themselves."""
    folder, manifest = plant(tiny_bundle("llama", "int4"), tmp_path / "copy")
    model = open_model(folder, manifest, threads=1)
    whole = all_logits(model, IDS)
    assert not compare_chunks(model, IDS[:24]).passed
    assert not compare_prefix(model, IDS, whole).passed
    assert not compare_guesses(model, IDS[:24]).passed
    assert not compare_threads(model, 1, IDS, whole).passed


def test_a_sound_bundle_passes_every_way(tiny_bundle: TinyBundle) -> None:
    """Nothing differs, and the manifest says on which instruction set that was measured."""
    bundle = tiny_bundle("llama", "int4")
    manifest = read_manifest(bundle)
    model = open_model(bundle, manifest, threads=1)
    assert all(check.passed for check in compare_ways(model, IDS, all_logits(model, IDS)))
    assert manifest.exact
    assert manifest.fidelity["checks"].keys() >= set(INVARIANCES)
    assert manifest.instruction_set == cpu.instruction_set()
    assert cpu.instruction_set() in (bundle / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert cpu.instruction_set() in (bundle / "report" / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("is_exact", [True, False])
def test_what_is_not_exact_is_served_without_guesses(
    is_exact: bool, tiny_bundle: TinyBundle, tmp_path: Path
) -> None:
    """The engine says so, and computes one id after the other although the text repeats itself."""
    bundle = Path(shutil.copytree(tiny_bundle("llama", "int4"), tmp_path / "bundle"))
    fields = dataclasses.asdict(read_manifest(bundle))
    (bundle / "bundle.json").write_bytes(sealed({**fields, "exact": is_exact}))
    engine = load(bundle, threads=1)
    assert engine.exact == is_exact
    steps = _recorded_steps(engine)
    list(engine.generate(IDS[:8] * 4, engine.params(temperature=0, logit_bias={0: -100.0}), max_tokens=40))
    assert (max(steps[1:]) > 1) == is_exact


def test_an_older_manifest_does_not_say_where_it_was_measured(
    tiny_bundle: TinyBundle, tmp_path: Path
) -> None:
    """A bundle from before the field is read all the same."""
    fields = dataclasses.asdict(read_manifest(tiny_bundle("llama", "int4")))
    del fields["instruction_set"]
    (tmp_path / "bundle.json").write_bytes(sealed(fields))
    assert read_manifest(tmp_path).instruction_set is None


def _recorded_steps(engine: Any) -> list[int]:
    """How many ids each call of the model gets from now on."""
    counts: list[int] = []
    forward = engine.model.forward

    def recording(ids: Any, cache: Any, rows: int = 1) -> Any:
        counts.append(len(ids))
        return forward(ids, cache, rows)

    engine.model.forward = recording
    return counts
