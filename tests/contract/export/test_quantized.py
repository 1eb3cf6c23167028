"""Quantized bundles are judged by the weights they store, and do not depend on how a text is cut."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from rich.console import Console
from transformers import AutoConfig, AutoModelForCausalLM

from export.graph import FAMILIES as REGISTERED
from export.pipeline import Options, export_bundle
from export.served import all_logits, at_accuracy_level, open_model
from export.stages import Stages
from handler.engine import load
from handler.engine.bundle import read_manifest
from tests.conftest import TinyBundle, TinyCheckpoint

FAMILIES = tuple(family.name for family in REGISTERED)
IDS = [int(i) for i in np.random.default_rng(3).integers(3, 500, 64)]


def dequantized(bundle: Path, matrix: str, bits: int) -> np.ndarray:
    """One matrix [N, K] by the definition of the format: (code - middle) * scale, the low half byte first."""
    tensors = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load(bundle / "model.onnx").graph.initializer
        if tensor.name in (f"{matrix}.codes", f"{matrix}.scales")
    }
    codes, scales = tensors[f"{matrix}.codes"], tensors[f"{matrix}.scales"]
    rows = []
    for row, scale in zip(codes, scales, strict=True):
        values: list[float] = []
        for block, step in zip(row, scale, strict=True):
            parts = [half for byte in block for half in (byte & 15, byte >> 4)] if bits == 4 else list(block)
            values += [(int(part) - (1 << (bits - 1))) * float(step) for part in parts]
        rows.append(values)
    return np.array(rows, np.float32)


def rebuilt(checkpoint: Path, bundle: Path, bits: int) -> torch.nn.Module:
    """transformers' Llama with every matrix replaced by what the bundle stores."""
    config = AutoConfig.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    heads, keys = config.hidden_size, config.hidden_size // 2
    parts = {
        "attention.qkv": [
            ("self_attn.q_proj", heads),
            ("self_attn.k_proj", keys),
            ("self_attn.v_proj", keys),
        ],
        "attention.output": [("self_attn.o_proj", heads)],
        "mlp.input": [("mlp.gate_proj", config.intermediate_size), ("mlp.up_proj", config.intermediate_size)],
        "mlp.output": [("mlp.down_proj", heads)],
    }
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(torch.from_numpy(dequantized(bundle, "head", bits)))
        for layer in range(config.num_hidden_layers):
            for name, stacked in parts.items():
                matrix = torch.from_numpy(dequantized(bundle, f"layer.{layer}.{name}.weight", bits))
                sizes = [size for _, size in stacked]
                for (part, _), rows in zip(stacked, matrix.split(sizes), strict=True):
                    model.get_submodule(f"model.layers.{layer}.{part}").weight.copy_(rows)
    return model


@pytest.mark.parametrize(("quant", "bits"), [("int4", 4), ("int8", 8)])
def test_a_quantized_graph_computes_with_the_weights_it_stores(
    quant: str, bits: int, tiny_checkpoint: TinyCheckpoint, tiny_bundle: TinyBundle
) -> None:
    """On float32 activations, its logits are transformers' on weights decoded by hand, within 1e-4."""
    bundle = tiny_bundle("llama", quant)
    model = rebuilt(tiny_checkpoint("llama"), bundle, bits)
    with torch.no_grad():
        expected = model(torch.tensor([IDS])).logits[0].numpy()
    found = all_logits(open_model(bundle, read_manifest(bundle), accuracy_level=0), IDS)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("quant", ["int4", "int8"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_passes_the_gate_quantized(family: str, quant: str, tiny_bundle: TinyBundle) -> None:
    """The checks the export itself made are in the manifest, the values within the tight limit."""
    manifest = read_manifest(tiny_bundle(family, quant))
    assert manifest.fidelity["checks"]["values"] <= 2e-4  # 1e-4 of logits whose size is below 2
    assert manifest.fidelity["checks"]["activation rounding"] < 0.08
    assert manifest.exact


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_exact_at_block_32(
    family: str, tiny_checkpoint: TinyCheckpoint, tmp_path: Path
) -> None:
    """The gate's cuts, prefixes, guesses and threads change no bit at the smaller block either."""
    options = Options(str(tiny_checkpoint(family)), tmp_path / "bundle", "int4", 32)
    manifest = export_bundle(options, Stages(Console(quiet=True)))
    assert manifest.quantization.block == 32
    assert manifest.exact


@pytest.mark.parametrize("quant", ["int4", "int8"])
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_bit_identical_however_a_text_is_cut(
    family: str, quant: str, tiny_bundle: TinyBundle
) -> None:
    """Random cuts, odd ones included, give the very bits of the text read at once."""
    model = load(tiny_bundle(family, quant)).model
    whole = model.forward(IDS, model.new_cache(), rows=len(IDS)).copy()
    random = np.random.default_rng(7)
    for _ in range(6):
        cuts = sorted({0, len(IDS), *map(int, random.integers(1, len(IDS), 5))})
        cache = model.new_cache()
        parts = [model.forward(IDS[a:b], cache, rows=b - a).copy() for a, b in itertools.pairwise(cuts)]
        assert np.array_equal(np.concatenate(parts), whole), cuts


def test_a_corrupted_scale_is_seen(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    """One scale of one block, doubled on disk, moves the logits far beyond the gate's limit."""
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle("llama", "int8"), bundle)
    graph = onnx.load(bundle / "model.onnx", load_external_data=False).graph
    scales = next(tensor for tensor in graph.initializer if tensor.name == "layer.1.mlp.output.weight.scales")
    offset = int({entry.key: entry.value for entry in scales.external_data}["offset"])
    manifest = read_manifest(bundle)
    before = all_logits(open_model(bundle, manifest, accuracy_level=0), IDS)
    with (bundle / "model.onnx.data").open("r+b") as data:
        data.seek(offset)
        value = np.frombuffer(data.read(4), np.float32)[0]
        data.seek(offset)
        data.write(np.float32(2 * value).tobytes())
    after = all_logits(open_model(bundle, manifest, accuracy_level=0), IDS)
    assert np.abs(after - before).max() > 1e-2


def test_accuracy_level_is_the_only_thing_the_exact_graph_changes(tiny_bundle: TinyBundle) -> None:
    """The graph the values are checked on is the bundle's own, but for one attribute."""
    graph = (tiny_bundle("llama", "int4") / "model.onnx").read_bytes()
    exact = at_accuracy_level(graph, 0)
    assert exact != graph
    assert at_accuracy_level(exact, 4) == at_accuracy_level(graph, 4)
