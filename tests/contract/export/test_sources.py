"""Checkpoints come in many forms; each gives the same model, or a clear refusal."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from export.errors import ExportError, UnsupportedFeature, VerificationError
from export.graph import llama, qwen2
from export.graph.facts import Attention, Family, Linear, Rope
from export.pipeline import Options, export_bundle
from export.stages import Stages
from handler.engine import load
from tests.checkpoints import write_checkpoint

IDS = [int(i) for i in np.random.default_rng(5).integers(3, 500, 40)]


def export(source: Path, out: Path, quant: str = "fp32", **options: Any) -> Path:
    export_bundle(Options(str(source), out, quant, **options), Stages(Console(quiet=True)))
    return out


def assert_equal_to_transformers(source: Path, bundle: Path) -> None:
    model = load(bundle).model
    found = model.forward(IDS, model.new_cache(), rows=len(IDS))
    reference = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    with torch.no_grad():
        expected = reference(torch.tensor([IDS])).logits[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


ATTENTION, MLP = qwen2.TENSORS.attention, qwen2.TENSORS.mlp
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("llama", {"dtype": "bfloat16"}),
        ("llama", {"dtype": "float16", "tie_word_embeddings": False}),
        ("qwen2", {"shard": "200KB"}),
        ("llama", {"rope_scaling": LLAMA3}),
        ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}),
        ("llama", {"rope_scaling": {"rope_type": "dynamic", "factor": 4.0}}),
        ("llama", {"rope_scaling": YARN}),
        ("llama", {"rope_scaling": {**YARN, "mscale": 0.7, "mscale_all_dim": 1.1, "truncate": False}}),
        ("llama", {"attention_bias": True, "mlp_bias": True}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1}),
        ("qwen3", {"tie_word_embeddings": True}),
    ],
    ids=[
        "bf16",
        "fp16-untied",
        "shards",
        "llama3-rope",
        "linear-rope",
        "dynamic-rope",
        "yarn-rope",
        "yarn-rope-with-scales",
        "biases",
        "windows-in-upper-layers",
        "tied-qwen3",
    ],
)
def test_every_form_of_checkpoint_gives_its_model(
    family: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    """Half precision, shards, tied or untied heads and scaled rotations all equal transformers."""
    source = write_checkpoint(tmp_path / "source", family, **changes)
    assert "shard" not in changes or len(list(source.glob("model-*.safetensors"))) > 1
    assert_equal_to_transformers(source, export(source, tmp_path / "bundle"))


def test_a_bare_gpt2_checkpoint_has_no_prefix(tmp_path: Path) -> None:
    """GPT-2 as first published stores `h.0...` and its causal masks; it is the same model."""
    source = write_checkpoint(tmp_path / "source", "gpt2")
    tensors = load_file(source / "model.safetensors")
    bare = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    bare |= {f"h.{layer}.attn.bias": torch.ones(1, 1, 8, 8) for layer in range(3)}
    save_file(bare, source / "model.safetensors", metadata={"format": "pt"})
    assert_equal_to_transformers(source, export(source, tmp_path / "bundle"))


@pytest.mark.parametrize("quant", ["int4", "int8"])
def test_widths_that_no_block_divides_are_padded(quant: str, tmp_path: Path) -> None:
    """A hidden size of 40 and an MLP of 100 pass the gate: blocks are padded, the embedding is float32."""
    changes = {"hidden_size": 40, "intermediate_size": 100, "head_dim": 16}
    source = write_checkpoint(tmp_path / "source", "llama", **changes)
    bundle = export(source, tmp_path / "bundle", quant)
    assert load(bundle).manifest.quantization.head_block == 16


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("rope_scaling", {"rope_type": "mrope", "factor": 4.0}, "'mrope' is not supported"),
        ("rope_parameters", {"full_attention": {"rope_type": "default"}}, "of a kind for each type of layer"),
        ("hidden_act", "gelu", 'hidden_act: "gelu" is not supported'),
        ("partial_rotary_factor", 0.5, "partial_rotary_factor: 0.5, or 8 of 16, is not supported"),
        ("head_dim", 24, "head_dim: 24 is not supported, only multiples of 16"),
    ],
)
def test_what_a_family_does_not_compute_is_refused_by_name(
    field: str, value: Any, said: str, tmp_path: Path
) -> None:
    """An unsupported feature is named, with its field, before anything is written."""
    source = write_checkpoint(tmp_path / "source", "llama")
    edit_config(source, **{field: value})
    with pytest.raises(UnsupportedFeature, match=said):
        export(source, tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vocab_size": "many"}, r"config.json: vocab_size: 'many', must be a whole number"),
        ({"num_hidden_layers": 4}, r"'model.layers.3.input_layernorm.weight' is missing"),
        ({"num_hidden_layers": 2}, r"'model.layers.2.\S+' and 8 more has no place"),
        (
            {"intermediate_size": 200},
            r"gate_proj.weight \+ .*up_proj.weight: 384 outputs, config.json says 400",
        ),
        ({"num_key_value_heads": 3}, r"num_key_value_heads: 3 does not divide 4 heads"),
        ({"tie_word_embeddings": False}, r"'lm_head.weight' is missing"),
        ({"eos_token_id": 9999}, r"eos_token_id: 9999, must be an id below 512"),
        ({"architectures": ["A", "B"]}, r"architectures: \['A', 'B'\], must be a list of one class name"),
    ],
)
def test_a_config_that_does_not_fit_the_weights_is_refused(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    """The message names the field or the tensor; nothing is left behind."""
    source = write_checkpoint(tmp_path / "source", "llama")
    (source / "generation_config.json").unlink()
    edit_config(source, **changes)
    with pytest.raises(ExportError, match=said):
        export(source, tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize(
    ("fault", "changes"),
    [
        ("a dropped bias", {"attention": llama.TENSORS.attention, "ignored": ("*.bias",)}),
        ("gate and up swapped", {"mlp": dataclasses.replace(MLP, input=Linear(MLP.input.weights[::-1]))}),
        (
            "norms swapped",
            {
                "attention": dataclasses.replace(ATTENTION, norm=MLP.norm),
                "mlp": dataclasses.replace(MLP, norm=ATTENTION.norm),
            },
        ),
    ],
)
def test_a_graph_that_is_not_the_model_is_refused(
    fault: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    """Wrong facts about a family are caught by the comparison with transformers, int8's rounding or not."""
    source = write_checkpoint(tmp_path / "source", "qwen2")
    tensors = dataclasses.replace(qwen2.TENSORS, **changes)
    faulty = Family(
        "faulty",
        qwen2.FAMILY.architectures,
        lambda config: dataclasses.replace(qwen2.read(config), tensors=tensors),
    )
    options = Options(str(source), tmp_path / "bundle", "int8")
    with pytest.raises(VerificationError, match=r"values|q_proj\.bias of the model has no place"):
        export_bundle(options, Stages(Console(quiet=True)), families=(faulty,))
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize(
    "change",
    [
        {"attention": (Attention(Rope(9_000.0)),) * 3},
        {"norm_epsilon": 1e-2},
        {"heads": 2, "kv_heads": 1, "head_dim": 32},
    ],
    ids=["wrong-rope-base", "wrong-epsilon", "wrong-head-count"],
)
def test_a_wrong_number_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    """A rope base, an epsilon or a head count that fits the shapes but is not the model's does not pass."""
    source = write_checkpoint(tmp_path / "source", "llama")
    faulty = Family(
        "faulty",
        llama.FAMILY.architectures,
        lambda config: dataclasses.replace(llama.read(config), **change),
    )
    options = Options(str(source), tmp_path / "bundle", "int4")
    with pytest.raises(VerificationError, match="values"):
        export_bundle(options, Stages(Console(quiet=True)), families=(faulty,))


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
