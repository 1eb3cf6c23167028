"""What was written to disk is not what was meant: no bundle, and the message names what and where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from export.errors import VerificationError
from export.pipeline import Options, export_bundle
from handler.engine.bundle import read_manifest
from tests.conftest import TinyCheckpoint
from tests.sabotage import Plant, Sabotage, edit_graph, edit_stored, round_by_the_call


def test_a_sound_model_passes(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    """The faults below are seen because they are planted: without one the same way makes a bundle."""
    out = tmp_path / "bundle"
    export_bundle(Options(str(tiny_checkpoint("llama")), out, "int8"), Sabotage(out, lambda _folder: None))
    assert "accepted" not in read_manifest(out).fidelity


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
