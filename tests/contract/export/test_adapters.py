"""LoRA adapters are merged as peft merges them, or refused by the field that asks for more."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from rich.console import Console
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM

from export.__main__ import main
from export.adapter import Adapter
from export.errors import ExportError, UnsupportedFeature
from export.pipeline import Options, export_bundle
from export.stages import Stages
from handler.engine import load
from handler.engine.bundle import read_manifest
from tests.checkpoints import write_checkpoint, write_tokenizer
from tests.conftest import TinyCheckpoint

IDS = [int(i) for i in np.random.default_rng(5).integers(3, 500, 40)]
ALL = "all-linear"


def export(source: Path, out: Path, quant: str = "fp32", **options: Any) -> Path:
    export_bundle(Options(str(source), out, quant, **options), Stages(Console(quiet=True)))
    return out


def write_adapter(folder: Path, base: Path, **config: Any) -> Any:
    """An adapter with random weights, as peft saves it; peft's own merge of it comes back."""
    torch.manual_seed(1)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    adapted = get_peft_model(plain, LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", **config))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:  # zero at the start of a training: the adapter would change nothing
                parameter.copy_(0.2 * torch.randn_like(parameter))
    adapted.save_pretrained(folder, save_embedding_layers=False)
    return adapted.merge_and_unload().eval()


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("llama", {"target_modules": ["q_proj", "v_proj"]}),
        ("qwen2", {"target_modules": ALL, "use_rslora": True}),
        (
            "llama",
            {
                "target_modules": ALL,
                "rank_pattern": {"o_proj": 8},
                "alpha_pattern": {"layers.1.self_attn.o_proj": 3, "down_proj": 20},
            },
        ),
        ("phi3", {"target_modules": ["qkv_proj", "gate_up_proj"]}),
        ("gpt2", {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}),
    ],
    ids=["llama", "rank-stabilized", "ranks-and-scales-by-layer", "stacked-matrices", "conv1d"],
)
def test_a_merged_adapter_is_what_peft_merges(
    family: str, config: dict[str, Any], tiny_checkpoint: TinyCheckpoint, tmp_path: Path
) -> None:
    """The float32 bundle's logits are those of peft's merged model within 1e-4, and not the base's."""
    base = tiny_checkpoint(family)
    merged = write_adapter(tmp_path / "adapter", base, **config)
    model = load(export(base, tmp_path / "bundle", adapter=str(tmp_path / "adapter"))).model
    found = model.forward(IDS, model.new_cache(), rows=len(IDS))
    with torch.no_grad():
        expected = merged(torch.tensor([IDS])).logits[0].numpy()
        plain = AutoModelForCausalLM.from_pretrained(base)(torch.tensor([IDS])).logits[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    assert np.abs(plain - expected).max() > 0.1


def test_an_adapter_is_a_model_by_itself(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    """Its config names the base; four bits are rounded from the merged weights; the manifest names both."""
    base = tiny_checkpoint("llama")
    write_adapter(tmp_path / "polite", base, target_modules=ALL)
    write_tokenizer(tmp_path / "polite")
    config = json.loads((tmp_path / "polite" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base)
    template = "{{ messages[0]['content'] }}"
    (tmp_path / "polite" / "chat_template.jinja").write_text(template)
    by_name = export(tmp_path / "polite", tmp_path / "bundle", "int4")
    given = export(base, tmp_path / "given", "int4", adapter=str(tmp_path / "polite"))
    one, two = ((folder / "model.onnx.data").read_bytes() for folder in (by_name, given))
    assert one == two
    manifest = read_manifest(by_name)
    assert manifest.name == "tiny-llama+polite"
    assert manifest.source.revision.count("sha256:") == 2
    assert (by_name / "chat_template.jinja").read_text() == template  # what it was trained with


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"target_modules": ["q_proj"], "use_dora": True}, "use_dora: True is not supported"),
        ({"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}, "modules_to_save: .* not supported"),
        ({"target_modules": ["q_proj"], "bias": "all"}, "bias: 'all' is not supported"),
        ({"target_modules": ["q_proj"], "init_lora_weights": "pissa"}, "init_lora_weights: 'pissa'"),
        ({"target_modules": ["embed_tokens"]}, "lora_embedding_A is not supported"),
    ],
)
def test_what_is_more_than_lora_is_refused_by_name(
    config: dict[str, Any], said: str, tiny_checkpoint: TinyCheckpoint, tmp_path: Path
) -> None:
    """The field or tensor is named, and nothing is left behind."""
    write_adapter(tmp_path / "adapter", tiny_checkpoint("llama"), **config)
    with pytest.raises(UnsupportedFeature, match=said):
        export(tmp_path / "adapter", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


@pytest.mark.parametrize(
    ("patterns", "said"),
    [
        (["q_proj"], r"alpha_pattern: \['q_proj'\], must be an object or null"),
        ({"q_proj": "x"}, r"alpha_pattern\.q_proj: 'x', must be a number above 0"),
        ({"q_proj": None}, r"alpha_pattern\.q_proj: None, must be a number above 0"),
        ({"q_proj(": 3}, r"alpha_pattern: .*: missing \), unterminated subpattern"),
    ],
)
def test_scales_that_cannot_be_read_are_refused_by_name(patterns: Any, said: str, tmp_path: Path) -> None:
    """The file and the field, when the folder is opened."""
    fields = {"peft_type": "LORA", "alpha_pattern": patterns}
    (tmp_path / "adapter_config.json").write_text(json.dumps(fields))
    with pytest.raises(ExportError, match=rf"adapter_config\.json: {said}"):
        Adapter(tmp_path)


def test_an_adapter_of_another_model_is_refused(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    """A change without a tensor, or of another shape, names both."""
    write_adapter(tmp_path / "adapter", tiny_checkpoint("llama"), target_modules=["q_proj"])
    adapter = str(tmp_path / "adapter")
    with pytest.raises(ExportError, match=r"q_proj\.weight \[64, 64\], the base .* has no such tensor"):
        export(tiny_checkpoint("gpt2"), tmp_path / "out", adapter=adapter)
    with pytest.raises(ExportError, match=r"q_proj\.weight \[64, 64\], the base .* has shape \[128, 64\]"):
        export(tiny_checkpoint("qwen3"), tmp_path / "out", adapter=adapter)


@pytest.mark.parametrize("shapes", [((4, 64), (64, 6)), ((4,), (64, 4)), ((0, 64), (64, 0))])
def test_parts_that_are_no_product_are_refused(shapes: tuple[tuple[int, ...], ...], tmp_path: Path) -> None:
    """Ranks that differ, or are none, and what is no matrix: the module and both shapes are named."""
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    parts = zip(("lora_A", "lora_B"), shapes, strict=True)
    tensors = {f"base_model.model.q_proj.{part}.weight": np.ones(shape, np.float32) for part, shape in parts}
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    said = re.escape(f"q_proj: lora_A {list(shapes[0])} and lora_B {list(shapes[1])}, must be")
    with pytest.raises(ExportError, match=said):
        Adapter(tmp_path).changes()


def test_a_change_of_a_head_that_is_the_embedding_is_refused(
    tiny_checkpoint: TinyCheckpoint, tmp_path: Path
) -> None:
    """A tied checkpoint that stores its head all the same: the change to it would be lost."""
    untied = write_checkpoint(tmp_path / "untied", "llama", tie_word_embeddings=False)
    write_adapter(tmp_path / "adapter", untied, target_modules=["lm_head"])
    config = untied / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "tie_word_embeddings": True}))
    with pytest.raises(ExportError, match=r"'lm_head.weight' has no place"):
        export(untied, tmp_path / "out", adapter=str(tmp_path / "adapter"))


def test_the_command_line_takes_an_adapter(
    tiny_checkpoint: TinyCheckpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that is none is one line; the universal way says that it merges nothing."""
    base = str(tiny_checkpoint("llama"))
    write_adapter(tmp_path / "adapter", Path(base), target_modules=["q_proj"])
    for arguments, said in (
        (["--adapter", base], "holds no adapter_config.json"),
        (["--adapter", str(tmp_path / "adapter"), "--way", "universal"], "merged into fused graphs alone"),
    ):
        assert main([base, "--out", str(tmp_path / "out"), *arguments]) == 1
        assert said in capsys.readouterr().err
