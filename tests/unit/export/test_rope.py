"""Rotary tables equal transformers' own frequencies, and other scalings are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, Phi3Config
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.phi3.modeling_phi3 import Phi3RotaryEmbedding

from export.config import Config
from export.errors import ExportError, UnsupportedFeature
from export.graph import FAMILIES
from export.graph.facts import Family
from export.graph.rope import as_in_transformers_4, read_rope, rope_tables, trained_context
from tests.checkpoints import config_of

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
SCALINGS = [
    None,
    {"rope_type": "linear", "factor": 4.0},
    {"rope_type": "dynamic", "factor": 4.0},
    LLAMA3,
    YARN,
    {**YARN, "beta_fast": 16.0, "beta_slow": 2.0, "attention_factor": 1.3},
    {**YARN, "mscale": 0.7, "mscale_all_dim": 1.1, "truncate": False},
]


@pytest.mark.parametrize("scaling", SCALINGS)
def test_tables_equal_transformers(scaling: dict[str, Any] | None) -> None:
    """At the far end of a long context, cosines and sines differ by no more than float32 angles must."""
    config = LlamaConfig(
        hidden_size=128,
        num_attention_heads=2,
        rope_theta=500_000.0,
        rope_scaling=scaling,
        max_position_embeddings=131_072,
    )
    positions = torch.tensor([[0, 1, 77, 4095, 8191]])
    cosines, sines = LlamaRotaryEmbedding(config)(torch.zeros(1), positions)
    fields = {"rope_theta": 500_000.0, "rope_scaling": scaling, "max_position_embeddings": 131_072}
    found = rope_tables(read_rope(Config(fields, Path("config.json"))), 64, 8192)
    for table, expected in zip(found, (cosines, sines), strict=True):
        np.testing.assert_allclose(table[positions[0]], expected[0, :, :32].numpy(), rtol=0, atol=1e-3)
        np.testing.assert_allclose(
            table[:78][positions[0, :3]], expected[0, :3, :32].numpy(), rtol=0, atol=1e-5
        )


def test_longrope_equals_transformers_up_to_the_length_first_trained_on() -> None:
    """Partly rotated heads, short factors, grown cosines; and no longer text than those hold for."""
    short = [1.0 + angle / 48 for angle in range(48)]
    scaling = {"type": "longrope", "short_factor": short, "long_factor": [2 * x for x in short]}
    fields = {
        "hidden_size": 256,
        "num_attention_heads": 2,
        "partial_rotary_factor": 0.75,
        "rope_theta": 10_000.0,
        "rope_scaling": scaling,
        "max_position_embeddings": 131_072,
        "original_max_position_embeddings": 4096,
    }
    positions = torch.tensor([[0, 1, 77, 4095]])
    cosines, sines = Phi3RotaryEmbedding(Phi3Config(**fields))(torch.zeros(1), positions)
    config = Config(fields, Path("config.json"))
    rope = read_rope(config)
    for table, expected in zip(rope_tables(rope, 128, 4096), (cosines, sines), strict=True):
        np.testing.assert_allclose(table[positions[0]], expected[0, :, :48].numpy(), rtol=0, atol=1e-3)
    assert trained_context(config, rope) == 4096


def test_factors_that_do_not_fit_the_head_are_refused() -> None:
    """The field is named, with both lengths."""
    scaling = {"type": "longrope", "short_factor": [1.0, 2.0], "long_factor": [1.0, 2.0]}
    config = Config({"rope_scaling": scaling, "max_position_embeddings": 64}, Path("config.json"))
    with pytest.raises(ExportError, match="short_factor: 2 numbers, a rotated head has 8 angles"):
        rope_tables(read_rope(config), 16, 64)


ROTATING = [family for family in FAMILIES if family.name != "gpt2"]


@pytest.mark.parametrize("family", ROTATING, ids=lambda family: family.name)
def test_parts_of_heads_are_refused_where_transformers_rotates_them_whole(family: Family) -> None:
    """In either spelling; only Phi-3 of all families computes with half a head."""
    fields = {**config_of(family.name).to_dict(), "architectures": list(family.architectures)}
    for told in ({"partial_rotary_factor": 0.5}, {"rope_parameters": {"partial_rotary_factor": 0.5}}):
        config = Config({**fields, **told}, Path("config.json"))
        if family.name == "phi3":
            rope = family.read(config).attention[0].rope
            assert rope is not None
            assert rope.fraction == 0.5
            continue
        with pytest.raises(UnsupportedFeature, match=r"partial_rotary_factor: 0\.5 is not supported for"):
            family.read(config)


@pytest.mark.parametrize("kind", ["mrope", "made-up"])
def test_other_scalings_are_refused_by_name(kind: str) -> None:
    """The message has the kind and those that are supported."""
    config = Config({"rope_scaling": {"type": kind, "factor": 2.0}}, Path("config.json"))
    with pytest.raises(UnsupportedFeature, match=f"{kind!r} is not supported, only default, dynamic, linear"):
        read_rope(config)


def test_transformers_5_spelling_is_read() -> None:
    """`rope_parameters` holds theta and kind together."""
    config = Config({"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}, Path("config.json"))
    assert read_rope(config).theta == 1e6


def test_what_transformers_5_spells_is_what_transformers_4_reads() -> None:
    """Phi-3's config class, the strictest of version 4, takes what was moved, and the tables are the same."""
    short = [1.0 + angle / 48 for angle in range(48)]
    factors = {"short_factor": short, "long_factor": [2 * x for x in short]}
    sizes = {"hidden_size": 256, "num_attention_heads": 2, "max_position_embeddings": 131_072}
    apart = {
        "rope_theta": 5e5,
        "partial_rotary_factor": 0.75,
        "original_max_position_embeddings": 4096,
    }
    older = {**sizes, **apart, "rope_scaling": {"type": "longrope", **factors}}
    newer = {**sizes, "rope_parameters": {"rope_type": "longrope", **apart, **factors}}
    assert as_in_transformers_4(newer) == older
    assert Phi3Config(**as_in_transformers_4(newer)).rope_scaling == older["rope_scaling"]
    assert read_rope(Config(newer, Path("config.json"))) == read_rope(Config(older, Path("config.json")))


def test_a_scaling_without_its_factor_names_the_field() -> None:
    """Not a KeyError."""
    config = Config({"rope_scaling": {"rope_type": "linear"}}, Path("config.json"))
    with pytest.raises(
        ExportError, match=r"config.json: rope_scaling.factor: None, must be a number above 0"
    ):
        read_rope(config)


@pytest.mark.parametrize("field", ["rope_theta", "partial_rotary_factor"])
def test_a_base_of_null_is_refused(field: str) -> None:
    """transformers computes with it, and cannot; null as a factor of longrope it replaces."""
    with pytest.raises(ExportError, match=rf"config.json: {field}: None, must be a number above 0"):
        read_rope(Config({field: None}, Path("config.json")))
    factors = {"short_factor": [1.0] * 4, "long_factor": [1.0] * 4}
    told = {"rope_scaling": {"type": "longrope", **factors}, "max_position_embeddings": 64}
    replaced = {**told["rope_scaling"], "factor": None, "attention_factor": None}
    ropes = [
        read_rope(Config({**told, "rope_scaling": each}, Path("c")))
        for each in (told["rope_scaling"], replaced)
    ]
    assert ropes[0] == ropes[1]
