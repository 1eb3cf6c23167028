"""Architectures without a fused family come through optimum, and are the same models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from transformers import AutoModelForCausalLM, GPTNeoXConfig

from export.errors import UnknownArchitecture, UnsupportedFeature
from export.pipeline import Options, export_bundle
from export.stages import Stages
from handler.engine import load
from tests.checkpoints import write_tokenizer

IDS = [int(i) for i in np.random.default_rng(9).integers(3, 500, 33)]


@pytest.fixture(scope="module")
def gpt_neox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GPT-NeoX: partial rotary, parallel residual; no fused family has that."""
    folder = tmp_path_factory.mktemp("universal") / "gpt-neox"
    config = GPTNeoXConfig(
        vocab_size=512,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=128,
        bos_token_id=0,
        eos_token_id=0,
        initializer_range=0.2,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def bundles(gpt_neox: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The universal bundles, in float32 and int8."""
    root = tmp_path_factory.mktemp("universal-bundles")
    for quant in ("fp32", "int8"):
        export_bundle(Options(str(gpt_neox), root / quant, quant), Stages(Console(quiet=True)))
    return {quant: root / quant for quant in ("fp32", "int8")}


def test_prefill_and_decode_equal_transformers(gpt_neox: Path, bundles: dict[str, Path]) -> None:
    """Read at once and one id at a time, logits are transformers' within 1e-4."""
    reference = AutoModelForCausalLM.from_pretrained(gpt_neox, dtype=torch.float32).eval()
    with torch.no_grad():
        expected = reference(torch.tensor([IDS])).logits[0].numpy()
    model = load(bundles["fp32"]).model
    whole = model.forward(IDS, model.new_cache(), rows=len(IDS))
    cache = model.new_cache()
    stepped = np.concatenate([model.forward([one], cache).copy() for one in IDS])
    np.testing.assert_allclose(whole, expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(stepped, expected, rtol=0, atol=1e-4)


def test_a_quantized_universal_bundle_is_smaller_and_says_it_is_inexact(bundles: dict[str, Path]) -> None:
    """Products are quantized, the gate has compared them, and exactness is not promised."""
    manifest = load(bundles["int8"]).manifest
    assert (manifest.source.way, manifest.graph.cache, manifest.exact) == ("universal", "concat", False)
    assert manifest.fidelity["checks"]["values"] < 1e-4
    sizes = {quant: (folder / "model.onnx.data").stat().st_size for quant, folder in bundles.items()}
    assert sizes["int8"] < 0.6 * sizes["fp32"]


def test_rotations_spelled_as_in_transformers_5_are_refused_by_name(gpt_neox: Path, tmp_path: Path) -> None:
    """optimum would take the default base without a word; the field and its older names are told."""
    source = shutil.copytree(gpt_neox, tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": 5e5}
    (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedFeature, match=r"config.json: rope_parameters: .*, only rope_theta and"):
        export_bundle(Options(str(source), tmp_path / "out"), Stages(Console(quiet=True)))


def test_the_fused_way_refuses_it_by_name(gpt_neox: Path, tmp_path: Path) -> None:
    """Asked for a fused graph, the export names the architecture and those it has."""
    with pytest.raises(
        UnknownArchitecture, match="GPTNeoXForCausalLM has no fused graph, only LlamaForCausalLM"
    ):
        export_bundle(Options(str(gpt_neox), tmp_path / "out", way="fused"), Stages(Console(quiet=True)))
