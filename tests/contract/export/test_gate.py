"""A model that the gate does not take for the checkpoint's does not become a bundle, unless for a reason."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from safetensors.torch import load_file, save_file

from export.__main__ import main
from export.errors import ExportError, VerificationError
from export.graph import gemma3, llama, mistral, olmo2, phi3, qwen2, qwen3, smollm3
from export.graph.facts import Attention, Decoder, Family
from export.pipeline import Options, export_bundle
from export.stages import Stages
from handler.engine import load
from handler.engine.bundle import read_manifest
from tests.checkpoints import write_checkpoint
from tests.conftest import TinyCheckpoint
from tests.sabotage import Sabotage, round_by_the_call

ATTENTION = llama.TENSORS.attention


def faulty(family: Any, **changes: Any) -> tuple[Family, ...]:
    """The family, believing something wrong."""

    def read(config: Any) -> Decoder:
        return dataclasses.replace(family.read(config), **changes)

    return (dataclasses.replace(family.FAMILY, read=read),)


def rotating_otherwise(family: Any) -> tuple[Family, ...]:
    """The family, believing in nine tenths of each layer's base."""

    def attend(attention: Attention) -> Attention:
        rope = attention.rope
        return dataclasses.replace(attention, rope=rope and dataclasses.replace(rope, theta=0.9 * rope.theta))

    def read(config: Any) -> Decoder:
        facts = family.read(config)
        return dataclasses.replace(facts, attention=tuple(map(attend, facts.attention)))

    return (dataclasses.replace(family.FAMILY, read=read),)


WRONG_FACTS = [
    *(
        pytest.param(
            family.FAMILY.name,
            rotating_otherwise(family),
            r"values: .* the first to differ are the keys of layer 0, turned from the second position on",
            id=f"wrong rope base of {family.FAMILY.name}",
        )
        for family in (llama, qwen3, mistral, phi3, olmo2, smollm3, gemma3)
    ),
    pytest.param(
        "llama",
        faulty(llama, heads=2, kv_heads=1, head_dim=32),
        r"values: .*; layer 0 keeps 1 heads of 32, transformers 2 heads of 16",
        id="wrong head count",
    ),
    pytest.param(
        "qwen2",
        faulty(qwen2, tensors=dataclasses.replace(qwen2.TENSORS, attention=ATTENTION, ignored=("*.bias",))),
        r"tensor model\.layers\.0\.self_attn\.q_proj\.bias of the model has no place in the graph",
        id="dropped bias",
    ),
    pytest.param(
        "llama",
        faulty(
            llama,
            tensors=dataclasses.replace(
                llama.TENSORS,
                attention=dataclasses.replace(
                    ATTENTION, output=dataclasses.replace(ATTENTION.output, transposed=True)
                ),
            ),
        ),
        r"values: .* of layer 1: layer 0 after its own keys and values",
        id="transposed weight",
    ),
    pytest.param(
        "llama",
        None,
        r"stored weights: .* the furthest: lm_head\.weight",
        id="untied head",
    ),
]


@pytest.mark.parametrize(("name", "families", "said"), WRONG_FACTS)
def test_a_wrong_belief_about_a_model_is_named(name: str, families: Any, said: str, tmp_path: Path) -> None:
    """What the graph was built on is not what the checkpoint is."""
    changes = {"tie_word_embeddings": False} if families is None else {}
    source = write_checkpoint(tmp_path / "source", name, **changes)
    families = families or faulty(llama, tied=True)
    with pytest.raises(VerificationError, match=said):
        export_bundle(
            Options(str(source), tmp_path / "bundle", "int8"), Stages(Console(quiet=True)), families=families
        )
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("quant", ["fp32", "int4"])
def test_an_answer_that_would_never_end_is_named(quant: str, tmp_path: Path) -> None:
    """The checkpoint names a token as its end that the chat template never writes: a common mistake."""
    source = write_checkpoint(tmp_path / "source", "llama")
    edit_json(source / "generation_config.json", eos_token_id=2)
    edit_json(source / "tokenizer_config.json", eos_token="<|pad|>")
    edit_json(source / "special_tokens_map.json", eos_token="<|pad|>")
    said = r"end of answers: 1, .*the chat template ends an answer with <\|end\|> \(0\), which stops nothing"
    with pytest.raises(VerificationError, match=said):
        export_bundle(Options(str(source), tmp_path / "bundle", quant), Stages(Console(quiet=True)))


def test_what_fails_can_be_accepted_with_a_reason(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    """The reason and every failed check are in the manifest, the report and the card; the bundle loads."""
    out = tmp_path / "bundle"
    options = Options(str(tiny_checkpoint("llama")), out, "int8", accept="only to look at it")
    export_bundle(options, Sabotage(out, round_by_the_call))
    manifest = read_manifest(out)
    accepted = manifest.fidelity["accepted"]
    assert accepted["reason"] == "only to look at it"
    assert {"values", "chunk invariance", "KL divergence"} <= set(accepted["failed"])
    assert not load(out).exact
    report = json.loads((out / "report" / "report.json").read_text())
    assert (report["passed"], report["accepted"]) == (False, "only to look at it")
    for file in ("report/report.md", "report/report.html", "MODEL_CARD.md"):
        assert "only to look at it" in (out / file).read_text("utf-8")


def test_limits_stand_beside_what_was_measured(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    """The manifest holds a limit for every check, and each value keeps to it."""
    export_bundle(
        Options(str(tiny_checkpoint("llama")), tmp_path / "bundle", "int4"), Stages(Console(quiet=True))
    )
    fidelity = read_manifest(tmp_path / "bundle").fidelity
    assert fidelity["checks"].keys() == fidelity["limits"].keys() > {"KL divergence", "perplexity ratio"}
    assert all(value <= fidelity["limits"][name] for name, value in fidelity["checks"].items())


@pytest.mark.parametrize("reason", ["", "  "])
def test_accepting_takes_a_reason(reason: str, tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    """An empty one is refused before any work."""
    with pytest.raises(ExportError, match="--accept: is empty; say why"):
        export_bundle(
            Options(str(tiny_checkpoint("llama")), tmp_path / "bundle", accept=reason),
            Stages(Console(quiet=True)),
        )


def test_accepting_where_nothing_fails_is_said_and_not_recorded(
    tiny_checkpoint: TinyCheckpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reason for nothing would only make a sound bundle look bad."""
    out = tmp_path / "bundle"
    assert main([str(tiny_checkpoint("llama")), "--out", str(out), "--accept", "to be safe"]) == 0
    assert "--accept: not needed, every check passed" in capsys.readouterr().err
    assert "accepted" not in read_manifest(out).fidelity


def test_fidelity_is_measured_on_the_text_given(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    """The user's passages take the shipped ones' place; a chat goes through the model's template."""
    text = tmp_path / "mine.txt"
    text.write_text("It is a fine day today, is it not?\n\nUser: Hello!\nAssistant: Good morning.\n", "utf-8")
    options = Options(str(tiny_checkpoint("llama")), tmp_path / "bundle", "int8", text=text)
    export_bundle(options, Stages(Console(quiet=True)))
    report = json.loads((tmp_path / "bundle" / "report" / "report.json").read_text())
    assert set(report["sections"]["fidelity"]["by_kind"]) == {"mine.txt", "its own answers"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"ab\xff", "--text: .*mine.txt is not UTF-8 text"),
        (b" \n", "--text: .*mine.txt is empty"),
        (
            b"a\n\nb",
            "--text: .*mine.txt is too short: its longest passage has 1 of this model's tokens, and one of 2",
        ),
    ],
)
def test_what_is_no_text_is_refused(
    content: bytes, said: str, tiny_checkpoint: TinyCheckpoint, tmp_path: Path
) -> None:
    """The message names the option and the file, before anything is converted."""
    (tmp_path / "mine.txt").write_bytes(content)
    options = Options(str(tiny_checkpoint("llama")), tmp_path / "bundle", text=tmp_path / "mine.txt")
    stages = Stages(Console(quiet=True))
    with pytest.raises(ExportError, match=said):
        export_bundle(options, stages)
    assert not {"rounding", "graph"} & set(stages.seconds)


def test_the_shortest_text_is_enough(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    """One passage of two tokens is judged, however little that says."""
    text = tmp_path / "mine.txt"
    text.write_text("zq")
    options = Options(
        str(tiny_checkpoint("llama")), tmp_path / "bundle", "int8", text=text, accept="a short text"
    )
    export_bundle(options, Stages(Console(quiet=True)))
    report = json.loads((tmp_path / "bundle" / "report" / "report.json").read_text())
    assert report["sections"]["fidelity"]["by_kind"]["mine.txt"]["tokens"] == 2


def zero(tensor: Any) -> Any:
    """The first 80 rows: all of a matrix's, some of the vocabulary's."""
    tensor[:80] = 0
    return tensor


def no_such_number(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


@pytest.mark.parametrize("quant", ["fp32", "int8", "int4"])
@pytest.mark.parametrize(
    "zeroed",
    [
        pytest.param(("layers.1.self_attn.v_proj",), id="values"),
        pytest.param(("k_proj",), id="keys"),
        pytest.param(("layers.1.self_attn.o_proj", "layers.1.mlp.down_proj"), id="an added layer"),
        pytest.param(("embed_tokens",), id="rows of the vocabulary"),
        pytest.param(("",), id="everything"),
    ],
)
def test_zeros_are_weights_like_others(
    zeroed: tuple[str, ...], quant: str, tiny_checkpoint: TinyCheckpoint, tmp_path: Path
) -> None:
    """Nothing is divided by their size: the bundle is made, and its report is JSON."""
    source = shutil.copytree(tiny_checkpoint("llama"), tmp_path / "source")
    rewrite(source, lambda name, each: zero(each) if any(part in name for part in zeroed) else each)
    out = tmp_path / "bundle"
    options = Options(str(source), out, quant, rounding=None if quant == "fp32" else "nearest")
    export_bundle(options, Stages(Console(quiet=True)))
    json.loads((out / "report" / "report.json").read_text(), parse_constant=no_such_number)


@pytest.mark.parametrize(
    ("quant", "rounding", "said"),
    [
        ("fp32", None, r"^not the model, so no bundle: logits are not finite: the model overflows"),
        ("int8", "nearest", r"^not the model, so no bundle: logits are not finite: the model overflows"),
        ("int4", "gptq", r"^--calibration: the model computes numbers on it that are not finite, or too"),
    ],
)
def test_a_model_that_overflows_is_told_whatever_is_accepted(
    quant: str, rounding: str | None, said: str, tiny_checkpoint: TinyCheckpoint, tmp_path: Path
) -> None:
    """Nothing can be sampled from such logits, nor compared with them."""
    source = shutil.copytree(tiny_checkpoint("llama"), tmp_path / "source")
    rewrite(source, lambda name, each: each * 1e20 if "norm" in name else each)
    options = Options(str(source), tmp_path / "bundle", quant, rounding=rounding, accept="to see it")
    with pytest.raises(ExportError, match=said):
        export_bundle(options, Stages(Console(quiet=True)))


def rewrite(source: Path, change: Callable[[str, Any], Any]) -> None:
    """Change each tensor of a checkpoint where it lies."""
    file = source / "model.safetensors"
    changed = {name: change(name, each) for name, each in load_file(file).items()}
    save_file(changed, file, metadata={"format": "pt"})


def edit_json(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
