"""Architectures without a fused family come through optimum, and are the same models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    CodeGenConfig,
    GPT2Config,
    GPTJConfig,
    GPTNeoConfig,
    GPTNeoXConfig,
    LlamaConfig,
    LlamaForSequenceClassification,
    MptConfig,
)

from export.errors import ExportError, UnknownArchitecture, UnsupportedFeature
from export.pipeline import Options, export_bundle
from export.stages import Stages
from handler.engine import load
from tests.checkpoints import write_tokenizer

IDS = [int(i) for i in np.random.default_rng(9).integers(3, 500, 33)]
WIDTHS: dict[str, Any] = {"vocab_size": 512, "hidden_size": 64, "num_layers": 2, "num_heads": 4}
GPT2_LIKE: dict[str, Any] = {"vocab_size": 512, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 128}
BLOOM: dict[str, Any] = {"vocab_size": 512, "hidden_size": 64, "n_layer": 2, "n_head": 4}
MPT: dict[str, Any] = {"vocab_size": 512, "d_model": 64, "n_layers": 2, "n_heads": 4, "max_seq_len": 128}
ENDS: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 0, "initializer_range": 0.2}
ALTERNATING: dict[str, Any] = {"attention_types": [[["global", "local"], 1]], "window_size": 16}


@pytest.fixture(scope="module")
def gpt_neox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GPT-NeoX: partial rotary, parallel residual; no fused family has that."""
    config = GPTNeoXConfig(
        vocab_size=512,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=128,
        **ENDS,
    )
    return save(config, tmp_path_factory.mktemp("universal") / "gpt-neox")


def save(config: Any, folder: Path) -> Path:
    """Random weights of this config, and a tokenizer."""
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


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(config, id=name)
        for name, config in {
            "scores divided by the layer": GPT2Config(
                **GPT2_LIKE, **ENDS, scale_attn_by_inverse_layer_idx=True
            ),
            "scores not divided": GPT2Config(**GPT2_LIKE, **ENDS, scale_attn_weights=False),
            "GPT-J": GPTJConfig(**GPT2_LIKE, **ENDS, rotary_dim=8),
            "CodeGen": CodeGenConfig(**GPT2_LIKE, **ENDS, rotary_dim=8),
            "GPT-Neo": GPTNeoConfig(**WIDTHS, **ENDS, **ALTERNATING, max_position_embeddings=128),
            "BLOOM": BloomConfig(**BLOOM, **ENDS),
            "MPT": MptConfig(**MPT, **ENDS),
        }.items()
    ],
)
def test_attention_is_computed_as_the_architecture_has_it(config: Any, tmp_path: Path) -> None:
    """PyTorch's fused attention leaves some of these out, and some do not take it at all."""
    source = save(config, tmp_path / "source")
    options = Options(str(source), tmp_path / "out", "fp32", way="universal", context_tokens=128)
    export_bundle(options, Stages(Console(quiet=True)))
    reference = AutoModelForCausalLM.from_pretrained(
        source, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    with torch.no_grad():
        expected = reference(torch.tensor([IDS])).logits[0].numpy()
    model = load(tmp_path / "out").model
    found = model.forward(IDS, model.new_cache(), rows=len(IDS))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_a_quantized_universal_bundle_is_smaller_and_says_it_is_inexact(bundles: dict[str, Path]) -> None:
    """Products are quantized, the gate has compared them, and exactness is not promised."""
    manifest = load(bundles["int8"]).manifest
    assert (manifest.source.way, manifest.graph.cache, manifest.exact) == ("universal", "concat", False)
    assert manifest.fidelity["checks"]["values"] < 1e-4
    sizes = {quant: (folder / "model.onnx.data").stat().st_size for quant, folder in bundles.items()}
    assert sizes["int8"] < 0.6 * sizes["fp32"]


def test_rotations_spelled_as_in_transformers_5_are_refused_by_name(gpt_neox: Path, tmp_path: Path) -> None:
    """The default base would be taken without a word; the field and its older names are told."""
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


def without(part: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The tensors but those that have `part` in their names."""
    return lambda tensors: {name: each for name, each in tensors.items() if part not in name}


def as_of_old(tensors: dict[str, Any]) -> dict[str, Any]:
    """With what no weight is: causal masks and rotations, as older versions stored them."""
    old = {
        f"gpt_neox.layers.0.attention.{name}": torch.ones(4)
        for name in ("bias", "masked_bias", "rotary_emb.inv_freq")
    }
    return {**tensors, **old}


@pytest.mark.parametrize(
    ("change", "layers", "said"),
    [
        pytest.param(
            dict, 1, r"tensor 'gpt_neox\.layers\.1\..*' and 11 more has no place in", id="fewer layers"
        ),
        pytest.param(
            dict, 3, r"tensor 'gpt_neox\.layers\.2\..*' and 11 more is missing from", id="more layers"
        ),
        pytest.param(
            without("1.input_layernorm.weight"),
            2,
            r"tensor 'gpt_neox\.layers\.1\.input_layernorm\.weight' is missing from the weights",
            id="a norm lacks",
        ),
        pytest.param(without("bias"), 2, r"bias' and 12 more is missing from", id="biases lack"),
        pytest.param(
            lambda tensors: {**tensors, "planted": torch.ones(4)},
            2,
            "tensor 'planted' has no place in GPTNeoXForCausalLM",
            id="one more",
        ),
        pytest.param(
            lambda tensors: {**tensors, "embed_out.weight": torch.ones(512, 32)},
            2,
            r"tensor 'embed_out\.weight' has another shape than config\.json says",
            id="misshapen",
        ),
    ],
)
def test_weights_of_another_model_are_refused_by_name(
    change: Callable[[Any], Any], layers: int, said: str, gpt_neox: Path, tmp_path: Path
) -> None:
    """transformers fills up what lacks and leaves out what is too much, and both judges with it."""
    source = shutil.copytree(gpt_neox, tmp_path / "source")
    rewrite(source, change, num_hidden_layers=layers)
    with pytest.raises(ExportError, match=said):
        export_bundle(Options(str(source), tmp_path / "out", "fp32"), Stages(Console(quiet=True)))
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_classifier_is_no_language_model(tmp_path: Path) -> None:
    """Its embedding is tied to a head that it has not, so that only its own head tells."""
    shape = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
    config = LlamaConfig(**shape, **ENDS, num_hidden_layers=2, tie_word_embeddings=True, pad_token_id=2)
    LlamaForSequenceClassification(config).save_pretrained(tmp_path / "source")
    write_tokenizer(tmp_path / "source")
    with pytest.raises(ExportError, match=r"tensor 'score\.weight' has no place in LlamaForCausalLM"):
        export_bundle(Options(str(tmp_path / "source"), tmp_path / "out"), Stages(Console(quiet=True)))


def test_what_old_versions_stored_besides_weights_is_no_other_model(gpt_neox: Path, tmp_path: Path) -> None:
    """Masks and rotations are computed today, whatever the checkpoint says of them."""
    source = shutil.copytree(gpt_neox, tmp_path / "source")
    rewrite(source, as_of_old)
    export_bundle(Options(str(source), tmp_path / "out", "fp32"), Stages(Console(quiet=True)))


def rewrite(source: Path, change: Callable[[Any], Any], **fields: Any) -> None:
    """Change a checkpoint's tensors and its config where they lie."""
    weights, config = source / "model.safetensors", source / "config.json"
    save_file(change(load_file(weights)), weights, metadata={"format": "pt"})
    config.write_text(json.dumps({**json.loads(config.read_text()), **fields}))
