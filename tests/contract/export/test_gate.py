"""A model with a planted fault does not become a bundle, and the message names what saw the fault."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from rich.console import Console

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

ATTENTION = llama.TENSORS.attention
Plant = Callable[[Path], None]


class Sabotage(Stages):
    """Changes the unfinished bundle once its files are written, before the gate looks at them."""

    def __init__(self, out: Path, plant: Plant) -> None:
        super().__init__(Console(quiet=True))
        self._out, self._plant = out, plant

    @contextmanager
    def stage(self, name: str, detail: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        with super().stage(name, detail, total) as done:
            yield done
            if name == "graph":
                (folder,) = self._out.parent.glob(f".{self._out.name}.*.partial")
                self._plant(folder)


def test_a_sound_model_passes(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    """The faults below are seen because they are planted: without one the same way makes a bundle."""
    out = tmp_path / "bundle"
    export_bundle(Options(str(tiny_checkpoint("llama")), out, "int8"), Sabotage(out, lambda _folder: None))
    assert "accepted" not in read_manifest(out).fidelity


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


def edit_stored(folder: Path, initializer: str, change: Callable[[Any], None]) -> None:
    """Change one initializer where it lies."""
    graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
    tensor = next(tensor for tensor in graph.initializer if tensor.name == initializer)
    place = {entry.key: entry.value for entry in tensor.external_data}
    values = np.memmap(
        folder / place["location"],
        helper.tensor_dtype_to_np_dtype(tensor.data_type),
        "r+",
        int(place["offset"]),
        tuple(tensor.dims),
    )
    change(values)
    values.flush()


def edit_graph(folder: Path, change: Callable[[Any], None]) -> None:
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    change(model.graph)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def swap_halves(count: int) -> Callable[[Any], None]:
    """The first rows and as many behind them, one for the other."""

    def swap(rows: Any) -> None:
        rows[:count], rows[count : 2 * count] = rows[count : 2 * count].copy(), rows[:count].copy()

    return swap


def swap_heads(head_dim: int) -> Plant:
    """The rows of the first two query heads, one for the other."""

    def plant(folder: Path) -> None:
        for part in ("codes", "scales"):
            edit_stored(folder, f"layer.1.attention.qkv.weight.{part}", swap_halves(head_dim))

    return plant


def double_a_scale(folder: Path) -> None:
    def double(scales: Any) -> None:
        scales[5, 1] *= 2

    edit_stored(folder, "layer.1.mlp.output.weight.scales", double)


def stretch_a_scale(folder: Path) -> None:
    """By less than what rounding may do to a block."""

    def stretch(scales: Any) -> None:
        scales[5, 1] *= 1.05

    edit_stored(folder, "layer.1.mlp.output.weight.scales", stretch)


def triple_a_norm(folder: Path) -> None:
    def triple(weights: Any) -> None:
        weights[7] *= 3

    edit_stored(folder, "layer.1.mlp_norm.weight", triple)


def swap_biases(folder: Path) -> None:
    """The biases of the first two query heads, one for the other."""
    edit_stored(folder, "layer.1.attention.qkv.bias", swap_halves(16))


def count_positions_from_minus_one(folder: Path) -> None:
    """Every position is looked up as the one before it."""

    def shift(graph: Any) -> None:
        one = helper.make_tensor("planted.one", TensorProto.INT64, [], [1])
        graph.initializer.append(one)
        for node in graph.node:
            for at, name in enumerate(node.input):
                if name == "position_ids":
                    node.input[at] = "planted.positions"
        graph.node.insert(0, helper.make_node("Sub", ["position_ids", "planted.one"], ["planted.positions"]))

    edit_graph(folder, shift)


def rotate_by_one_position_more(folder: Path) -> None:
    """Every angle but the last is that of the position behind it."""

    def shift(angles: Any) -> None:
        angles[:-1] = angles[1:].copy()

    for table in ("rope.cosines", "rope.sines"):
        edit_stored(folder, table, shift)


def round_by_the_call(folder: Path) -> None:
    """One product whose activations are rounded by the largest of all rows of a call."""

    def replace(graph: Any) -> None:
        node = next(n for n in graph.node if n.op_type == "MatMulNBits" and "mlp.output" in n.input[1])
        sizes = {a.name: a.i for a in node.attribute}
        weights = np.random.default_rng(5).integers(-9, 9, (sizes["K"], sizes["N"])).astype(np.int8)
        graph.initializer.append(onnx.numpy_helper.from_array(weights, "planted.weights"))
        graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.02), "planted.scale"))
        names = [node.input[0], "planted.weights", "planted.scale"]
        node.CopyFrom(helper.make_node("DynamicQuantizeMatMul", names, node.output, domain="com.microsoft"))

    edit_graph(folder, replace)


def forget_whose_turn_it_is(folder: Path) -> None:
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text("utf-8").replace("<|start|>assistant", "<|start|>user"), "utf-8")


@pytest.mark.parametrize(
    ("family", "plant", "said"),
    [
        *(
            pytest.param(
                family,
                swap_heads(head_dim),
                rf"stored weights: [^;]*; the furthest: {tensor}\.weight in row",
                id=f"swapped heads of {family}",
            )
            for family, head_dim, tensor in (
                ("llama", 16, r"model\.layers\.1\.self_attn\.q_proj"),
                ("qwen3", 32, r"model\.layers\.1\.self_attn\.q_proj"),
                ("mistral", 32, r"model\.layers\.1\.self_attn\.q_proj"),
                ("phi3", 32, r"model\.layers\.1\.self_attn\.qkv_proj"),
                ("gemma3", 32, r"model\.layers\.1\.self_attn\.q_proj"),
                ("gpt2", 16, r"transformer\.h\.1\.attn\.c_attn"),
            )
        ),
        pytest.param(
            "llama",
            double_a_scale,
            r"stored weights: .* model\.layers\.1\.mlp\.down_proj\.weight in row 5, block 1",
            id="one corrupted scale",
        ),
        pytest.param(
            "gpt2",
            count_positions_from_minus_one,
            r"values: .* the first to differ are the keys and values of layer 0.*values at the limit",
            id="off-by-one position",
        ),
        pytest.param(
            "llama",
            rotate_by_one_position_more,
            r"no bundle: values at the limit: [^;]*; [^;]*only behind a long past: positions, rotation",
            id="off-by-one rotation",
        ),
        pytest.param(
            "llama", round_by_the_call, r"chunk invariance: .*; prefix invariance", id="int8 by chunk"
        ),
        pytest.param(
            "llama",
            forget_whose_turn_it_is,
            r"chat template: 3, .*a conversation of user",
            id="wrong template",
        ),
    ],
)
def test_a_fault_in_what_was_written_is_named(
    family: str, plant: Plant, said: str, tiny_checkpoint: TinyCheckpoint, tmp_path: Path
) -> None:
    """The files do not hold what the build meant to write; the old bundle stays where it was."""
    out = tmp_path / "bundle"
    out.mkdir()
    (out / "bundle.json").write_text("the old one")
    options = Options(str(tiny_checkpoint(family)), out, "int8")
    with pytest.raises(VerificationError, match=said):
        export_bundle(options, Sabotage(out, plant))
    assert (out / "bundle.json").read_text() == "the old one"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize(
    ("family", "plant", "said"),
    [
        pytest.param(
            "gemma3",
            triple_a_norm,
            r"unrounded weights: .*: model\.layers\.1\.pre_feedforward_layernorm\.weight in row 7",
            id="norm stored as its distance from one",
        ),
        pytest.param(
            "qwen2",
            triple_a_norm,
            r"unrounded weights: .*: model\.layers\.1\.post_attention_layernorm\.weight in row 7",
            id="norm",
        ),
        pytest.param(
            "qwen2",
            swap_biases,
            r"unrounded weights: .*: model\.layers\.1\.self_attn\.q_proj\.bias in row \d+",
            id="swapped biases",
        ),
    ],
)
def test_what_is_not_rounded_has_no_room_for_rounding(
    family: str, plant: Plant, said: str, tiny_checkpoint: TinyCheckpoint, tmp_path: Path
) -> None:
    """At four bits too, where blocks of rounded weights have the most."""
    out = tmp_path / "bundle"
    options = Options(str(tiny_checkpoint(family)), out, "int4", rounding="nearest")
    with pytest.raises(VerificationError, match=said):
        export_bundle(options, Sabotage(out, plant))


@pytest.mark.parametrize(("rounding", "asymmetric"), [("gptq", False), ("nearest", False), ("nearest", True)])
def test_a_block_that_was_damaged_on_its_way_is_named(
    rounding: str, asymmetric: bool, tiny_checkpoint: TinyCheckpoint, tmp_path: Path
) -> None:
    """One scale, five percent off at four bits, however it was chosen: its block, and no other."""
    out = tmp_path / "bundle"
    options = Options(str(tiny_checkpoint("llama")), out, "int4", rounding=rounding, asymmetric=asymmetric)
    place = r"model\.layers\.1\.mlp\.down_proj\.weight in row 5, block 1"
    with pytest.raises(VerificationError, match=rf"no bundle: rounded blocks: 1, [^;]*; [^;]*: {place}\);"):
        export_bundle(options, Sabotage(out, stretch_a_scale))


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
    [(b"ab\xff", "--text: .*mine.txt is not UTF-8 text"), (b" \n", "--text: .*mine.txt is empty")],
)
def test_what_is_no_text_is_refused(
    content: bytes, said: str, tiny_checkpoint: TinyCheckpoint, tmp_path: Path
) -> None:
    """The message names the option and the file."""
    (tmp_path / "mine.txt").write_bytes(content)
    options = Options(str(tiny_checkpoint("llama")), tmp_path / "bundle", text=tmp_path / "mine.txt")
    with pytest.raises(ExportError, match=said):
        export_bundle(options, Stages(Console(quiet=True)))


def edit_json(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
