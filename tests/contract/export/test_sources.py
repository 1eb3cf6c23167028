"""Checkpoints come in many forms; each gives the same model, or a clear refusal."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from export.errors import ExportError, UnsupportedFeature, VerificationError
from export.graph import gemma2, gemma3, granite, llama, mistral, phi3, qwen2, smollm3
from export.graph.facts import Attention, Family, Linear, Multipliers, Rope
from export.pipeline import Options, export_bundle
from export.stages import Stages
from handler.engine import load
from tests.checkpoints import WINDOW, write_checkpoint

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
LONGROPE = {
    "original_max_position_embeddings": 64,
    "rope_scaling": {
        "type": "longrope",
        "short_factor": [1.0, 1.1, 1.3, 1.7, 2.0, 2.2, 2.5, 3.0],
        "long_factor": [2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
    },
}


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
        ("phi3", LONGROPE),
        ("llama", {"attention_bias": True, "mlp_bias": True}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1}),
        ("qwen3", {"tie_word_embeddings": True}),
        ("mistral", {"sliding_window": None, "dtype": "bfloat16"}),
        ("olmo2", {"attention_bias": True, "tie_word_embeddings": True}),
        ("smollm3", {"use_sliding_window": True, "sliding_window": 16, "no_rope_layers": [0, 1, 0]}),
        ("gemma3", {"final_logit_softcapping": 5.0, "tie_word_embeddings": False}),
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
        "longrope",
        "biases",
        "windows-in-upper-layers",
        "tied-qwen3",
        "no-window",
        "tied-olmo2-with-biases",
        "windows-without-rope",
        "untied-gemma3-with-capped-logits",
    ],
)
def test_every_form_of_checkpoint_gives_its_model(
    family: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    """Half precision, shards, tied or untied heads and scaled rotations all equal transformers."""
    source = write_checkpoint(tmp_path / "source", family, **changes)
    assert "shard" not in changes or len(list(source.glob("model-*.safetensors"))) > 1
    assert_equal_to_transformers(source, export(source, tmp_path / "bundle"))


def test_rotations_spelled_as_in_transformers_5_are_the_same_model(tmp_path: Path) -> None:
    """Base and scaling in `rope_parameters` alone pass the gate, and give what version 4's spelling gives."""
    older = write_checkpoint(tmp_path / "older", "llama", rope_theta=500_000.0, rope_scaling=LLAMA3)
    newer = shutil.copytree(older, tmp_path / "newer")
    config = json.loads((newer / "config.json").read_text())
    del config["rope_theta"], config["rope_scaling"]
    config["rope_parameters"] = {**LLAMA3, "rope_theta": 500_000.0}
    (newer / "config.json").write_text(json.dumps(config))
    assert_equal_to_transformers(older, export(newer, tmp_path / "bundle"))


def test_gemma_3s_two_rotations_spelled_as_in_transformers_5_are_the_same_model(tmp_path: Path) -> None:
    """One for each type of layer; scaled local ones, which transformers 4 does not have, are refused."""
    older = write_checkpoint(tmp_path / "older", "gemma3", rope_theta=500_000.0, rope_local_base_freq=5_000.0)
    newer = shutil.copytree(older, tmp_path / "newer")
    config = json.loads((newer / "config.json").read_text())
    scaling = config.pop("rope_scaling")
    local = {"rope_type": "default", "rope_theta": config.pop("rope_local_base_freq")}
    pair = {
        "full_attention": {**scaling, "rope_theta": config.pop("rope_theta")},
        "sliding_attention": local,
    }
    (newer / "config.json").write_text(json.dumps({**config, "rope_parameters": pair}))
    assert_equal_to_transformers(older, export(newer, tmp_path / "bundle"))
    edit_config(newer, rope_parameters={**pair, "sliding_attention": {**local, **scaling}})
    with pytest.raises(UnsupportedFeature, match="of a kind for each type of layer"):
        export(newer, tmp_path / "other")


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
        ("hidden_act", "gelu", 'hidden_act: "gelu" is not supported'),
        ("partial_rotary_factor", 0.5, "partial_rotary_factor: 0.5 is not supported for Llama"),
        ("head_dim", 24, "head_dim: 24 is not supported, only multiples of 16"),
    ],
)
def test_what_a_family_does_not_compute_is_refused_by_name(
    field: str, value: Any, said: str, tmp_path: Path
) -> None:
    """An unsupported feature is named, with its field, before anything is written."""
    source = write_checkpoint(tmp_path / "source", "llama")
    edit_config(source, **{field: value})
    with pytest.raises(UnsupportedFeature, match=f"{said}.*; --way universal takes what optimum can"):
        export(source, tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_reader_has_some_of_the_layers(tmp_path: Path) -> None:
    """Of the layers of a model with a reader not all are the reader's."""
    source = write_checkpoint(tmp_path / "source", "reader_llama")
    edit_config(source, reader_num_hidden_layers=3)
    with pytest.raises(ExportError, match="reader_num_hidden_layers: 3, must be from 1 to 2"):
        export(source, tmp_path / "bundle")


def test_no_way_is_advised_that_refuses_it_too(tmp_path: Path) -> None:
    """The universal way takes no rotations in transformers 5's spelling, whatever their kind."""
    source = write_checkpoint(tmp_path / "source", "llama")
    edit_config(source, rope_parameters={"full_attention": {"rope_type": "default"}})
    with pytest.raises(UnsupportedFeature, match=r"of a kind for each type of layer [^;]*$"):
        export(source, tmp_path / "bundle")


def test_rotated_parts_that_the_operator_lacks_are_refused_by_name(tmp_path: Path) -> None:
    """Phi-3 may rotate a part of each head, in steps of sixteen."""
    source = write_checkpoint(tmp_path / "source", "phi3")
    edit_config(source, partial_rotary_factor=0.25)
    with pytest.raises(
        UnsupportedFeature, match=r"partial_rotary_factor: 0.25, or 8 of 32, is not supported"
    ):
        export(source, tmp_path / "bundle")


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
    ("family", "changes", "said"),
    [
        ("llama", {"model_type": None}, r"config.json: model_type: missing"),
        ("llama", {"model_type": "lama"}, r"config.json: transformers cannot read it: .*`lama`"),
        (
            "phi3",
            {"rope_scaling": {"type": "linear", "factor": 2.0}},
            r"config.json: transformers cannot read it: `rope_scaling`",
        ),
    ],
)
def test_a_config_that_transformers_refuses_is_named(
    family: str, changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    """The file and the first line of what transformers says, whose model is the judge."""
    source = write_checkpoint(tmp_path / "source", family)
    told = json.loads((source / "tokenizer_config.json").read_text())
    assert told["tokenizer_class"] == "PreTrainedTokenizerFast"  # the tokenizer does without the config
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


@pytest.mark.parametrize(
    ("family", "planted"),
    [
        (mistral, lambda facts: facts.attending(window=WINDOW - 1)),
        (gemma3, lambda facts: facts.windowed((None,) * facts.layers)),
        (gemma3, lambda facts: facts.attending(rope=Rope(1e6))),
        (smollm3, lambda facts: facts.attending(rope=Rope(2e6))),
        (phi3, lambda facts: facts.attending(rope=Rope(1e4))),
        (gemma2, lambda facts: facts.attending(softcap=None)),
        (gemma2, lambda facts: dataclasses.replace(facts, logit_softcap=None)),
        (granite, lambda facts: facts.attending(scale=None)),
        (granite, lambda facts: dataclasses.replace(facts, multipliers=Multipliers(2.5, 0.61, 1 / 3))),
        (granite, lambda facts: dataclasses.replace(facts, multipliers=Multipliers(2.51, 0.6, 1 / 3))),
    ],
    ids=[
        "window-off-by-one",
        "no-window",
        "one-rope-base",
        "every-layer-rotates",
        "whole-head-rotates",
        "scores-not-capped",
        "logits-not-capped",
        "wrong-scale",
        "wrong-residual-multiplier",
        "wrong-embedding-multiplier",
    ],
)
def test_a_wrong_fact_of_attention_or_scale_is_refused(family: Any, planted: Any, tmp_path: Path) -> None:
    """What the newer families add is seen by the gate when it is wrong, and only then."""
    source = write_checkpoint(tmp_path / "source", family.FAMILY.name)
    faulty = dataclasses.replace(family.FAMILY, read=lambda config: planted(family.read(config)))
    options = Options(str(source), tmp_path / "bundle", "fp32")
    with pytest.raises(VerificationError, match="values"):
        export_bundle(options, Stages(Console(quiet=True)), families=(faulty,))


@pytest.mark.parametrize(
    ("family", "field", "value", "said"),
    [
        ("gemma3", "layer_types", ["chunked_attention"] * 3, "layer_types: 'chunked_attention' is not supp"),
        ("gemma3", "layer_types", ["full_attention"], "layer_types: must be a list with one entry for each"),
        ("gemma3", "attn_logit_softcapping", 5.0, "attn_logit_softcapping: 5.0 is not supported"),
        ("gemma3", "use_bidirectional_attention", True, "use_bidirectional_attention: true is not supported"),
        ("gemma2", "hidden_activation", "relu", 'hidden_activation: "relu" is not supported'),
        ("mistral", "sliding_window", "wide", "sliding_window: 'wide', must be a whole number"),
        ("smollm3", "no_rope_layers", [1], "no_rope_layers: must be a list of 3 numbers"),
    ],
)
def test_what_a_newer_family_does_not_compute_is_refused_by_name(
    family: str, field: str, value: Any, said: str, tmp_path: Path
) -> None:
    """The field is named with what it may be."""
    source = write_checkpoint(tmp_path / "source", family)
    edit_config(source, **{field: value})
    with pytest.raises(ExportError, match=said):
        export(source, tmp_path / "bundle")


def test_longrope_ends_where_its_angles_change(tmp_path: Path) -> None:
    """A context beyond the length first trained on is refused; unasked, the bundle's ends there."""
    source = write_checkpoint(tmp_path / "source", "phi3", **LONGROPE)
    assert load(export(source, tmp_path / "bundle")).manifest.context_tokens == 64
    with pytest.raises(ExportError, match="--context: 128, must be from 3 to 64"):
        export(source, tmp_path / "longer", context_tokens=128)


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
