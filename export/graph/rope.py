"""Rotary position embedding: the cosine and sine tables, scaled as the checkpoint's config says.

Owns the kinds of scaling, and refuses unknown ones by name. Angles are computed in float32 as the models were
trained and as transformers does, not more precisely. Does not know ONNX.

Two kinds, `dynamic` and `longrope`, change all angles once a text grows beyond the length first trained on,
and with them the keys of what was read before. A cache cannot follow that: such models are built for texts up
to that length, where `dynamic` scales nothing and `longrope` by its short factors.

Source: https://arxiv.org/abs/2104.09864 (rotations), https://arxiv.org/abs/2309.00071 (yarn),
https://arxiv.org/abs/2402.13753 (longrope); llama3: transformers' `modeling_rope_utils`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.config import Config
from export.errors import ExportError, UnsupportedFeature
from export.graph.facts import Rope
from export.graph.windows import FULL, SLIDING

Float32 = NDArray[np.float32]

LLAMA3_FIELDS = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
NEEDED: dict[str, tuple[str, ...]] = {
    "default": (),
    "dynamic": ("factor",),
    "linear": ("factor",),
    "llama3": LLAMA3_FIELDS,
    "longrope": (),
    "yarn": ("factor",),
}
YARN_FIELDS = ("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim")


def read_rope(config: Config, default_theta: float = 10_000.0) -> Rope:
    """The rotary facts in a config, spelled as in transformers 4 (`rope_scaling`) or 5 (`rope_parameters`).

    Raises: UnsupportedFeature naming the kind of scaling; ExportError for a field that is missing in it.
    """
    field = "rope_parameters" if config.fields.get("rope_parameters") else "rope_scaling"
    told = config.fields.get(field) or {}
    if not isinstance(told, dict):
        raise ExportError(f"{config.path}: {field}: {told!r}, must be an object or null")
    kind = _kind(told)
    kind = "longrope" if kind == "su" else kind  # its first name
    if kind not in NEEDED or any(isinstance(value, dict) for value in told.values()):
        found = repr(kind) if kind not in NEEDED else "of a kind for each type of layer"
        raise UnsupportedFeature(
            f"{config.path}: {field}: rotary scaling {found} is not supported, only {', '.join(NEEDED)}"
        )
    config = Config(as_in_transformers_4(config.fields), config.path)
    scaling = config.fields.get("rope_scaling") or {}
    inside = Config(scaling, config.path, f"{field}.")
    facts: dict[str, Any] = {"kind": kind, **{name: inside.number(name) for name in NEEDED[kind]}}
    if kind == "longrope":
        facts |= _longrope_facts(config, inside)
    if kind == "yarn":
        facts |= {name: inside.number(name) for name in YARN_FIELDS if scaling.get(name) is not None}
        trained = inside.integer(
            "original_max_position_embeddings", config.integer("max_position_embeddings")
        )
        facts |= {"trained": trained, "truncate": inside.flag("truncate", True)}
    theta = config.number("rope_theta", default_theta)
    return Rope(theta, facts, config.number("partial_rotary_factor", 1.0))


def of_one_kind(config: Config) -> Config:
    """Gemma 3's config as transformers 4 saves it, where 5 told its two rotations apart; else as it is."""
    if not _is_pair(config.fields.get("rope_parameters")):
        return config
    return Config(as_in_transformers_4(config.fields), config.path)


def as_in_transformers_4(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A config's fields with what transformers 5 has in `rope_parameters` where transformers 4 looks for it.

    Source: https://huggingface.co/docs/transformers/internal/rope_utils
    """
    moved = {name: value for name, value in fields.items() if name != "rope_parameters"}
    if not fields.get("rope_parameters"):
        return moved
    told, name_of_kind = fields["rope_parameters"], "type"
    if _is_pair(told):
        told, local, name_of_kind = told[FULL], told[SLIDING], "rope_type"
        moved |= {"rope_local_base_freq": local["rope_theta"]} if "rope_theta" in local else {}
    kind = _kind(told)
    outside = {"rope_theta", "partial_rotary_factor"}
    if kind == "longrope":
        outside.add("original_max_position_embeddings")
    moved |= {name: told[name] for name in outside if told.get(name) is not None}
    # Of the two names for a kind transformers 4 reads this one: Gemma 3 wants the other, Phi-3 refuses it.
    inside = {name: value for name, value in told.items() if name not in outside | {"rope_type", "type"}}
    return {**moved, "rope_scaling": None if kind == "default" else {name_of_kind: kind, **inside}}


def trained_context(config: Config, rope: Rope) -> int:
    """How long a text may become: as trained, and no longer than one set of angles holds."""
    trained = config.integer("max_position_embeddings")
    return min(trained, int(rope.scaling.get("longest", trained)))


def rotated(rope: Rope, head_dim: int) -> int:
    """How many numbers of a head are rotated, from its start."""
    return int(head_dim * rope.fraction)


def rope_tables(rope: Rope, head_dim: int, positions: int) -> tuple[Float32, Float32]:
    """Cosines and sines, each [positions, rotated / 2]."""
    width = rotated(rope, head_dim)
    exponents = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
    frequencies = (1.0 / np.power(rope.theta, exponents.astype(np.float64))).astype(np.float32)
    kind, stretch = rope.scaling.get("kind", "default"), np.float32(1.0)
    if kind == "linear":
        frequencies = frequencies / np.float32(rope.scaling["factor"])
    elif kind == "llama3":
        frequencies = _llama3(frequencies, rope.scaling)
    elif kind == "longrope":
        frequencies = _longrope(frequencies, rope.scaling)
        stretch = np.float32(rope.scaling["attention_factor"])
    elif kind == "yarn":
        frequencies = _yarn(frequencies, rope, width)
        stretch = np.float32(_yarn_stretch(rope.scaling))
    angles = np.outer(np.arange(positions, dtype=np.float32), frequencies)  # [positions, rotated / 2]
    return np.cos(angles) * stretch, np.sin(angles) * stretch


def _kind(scaling: Mapping[str, Any]) -> Any:
    return scaling.get("rope_type", scaling.get("type", "default"))


def _is_pair(told: Any) -> bool:
    """Whether it is Gemma 3's: one rotation for layers with a window, not scaled, and one for the others."""
    if not isinstance(told, dict) or set(told) != {SLIDING, FULL}:
        return False
    return all(isinstance(each, dict) for each in told.values()) and _kind(told[SLIDING]) == "default"


def _llama3(frequencies: Float32, scaling: Mapping[str, Any]) -> Float32:
    """Long wavelengths are stretched by `factor`, short ones kept, those between blended smoothly."""
    factor, low, high, trained = (scaling[name] for name in LLAMA3_FIELDS)
    wavelengths = 2 * math.pi / frequencies
    blend = np.clip((trained / wavelengths - low) / (high - low), 0.0, 1.0)
    blended: Float32 = ((1 - blend) * frequencies / factor + blend * frequencies).astype(np.float32)
    return blended


def _longrope_facts(config: Config, inside: Config) -> dict[str, Any]:
    """The short factors, and by how much cosines and sines grow for the stretch that long texts get."""
    longest = config.integer("max_position_embeddings")
    trained = config.integer("original_max_position_embeddings", longest)
    told = "original_max_position_embeddings" in config.fields
    ratio = longest / trained if told else inside.optional_number("factor") or 1.0
    growth = math.sqrt(1 + math.log(ratio) / math.log(trained)) if ratio > 1 else 1.0
    short = inside.numbers("short_factor")
    factor = inside.optional_number("attention_factor") or growth
    return {"short": short, "longest": trained, "attention_factor": factor}


def _longrope(frequencies: Float32, scaling: Mapping[str, Any]) -> Float32:
    short = np.array(scaling["short"], np.float32)
    if len(short) != len(frequencies):
        raise ExportError(
            f"rope_scaling.short_factor: {len(short)} numbers, a rotated head has {len(frequencies)} angles"
        )
    return frequencies / short


def _yarn(frequencies: Float32, rope: Rope, width: int) -> Float32:
    """Slow rotations are stretched by `factor`, fast ones kept, on a ramp between two numbers of turns."""

    def angle_that_turns(times: float) -> float:
        within = math.log(rope.scaling["trained"] / (times * 2 * math.pi))
        return width * within / (2 * math.log(rope.theta))

    first = angle_that_turns(rope.scaling.get("beta_fast", 32.0))
    last = angle_that_turns(rope.scaling.get("beta_slow", 1.0))
    if rope.scaling["truncate"]:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, width - 1)
    if first == last:
        last += 0.001  # a step instead of a ramp
    ramp = np.clip((np.arange(width // 2, dtype=np.float32) - first) / (last - first), 0, 1)
    stretched: Float32 = frequencies / np.float32(rope.scaling["factor"]) * ramp + frequencies * (1 - ramp)
    return stretched.astype(np.float32)


def _yarn_stretch(scaling: Mapping[str, Any]) -> float:
    """By how much cosines and sines grow: attention is sharpened as texts get longer."""

    def growth(weight: float) -> float:
        factor: float = scaling["factor"]
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    if "attention_factor" in scaling:
        return float(scaling["attention_factor"])
    if "mscale" in scaling and "mscale_all_dim" in scaling:
        return growth(scaling["mscale"]) / growth(scaling["mscale_all_dim"])
    return growth(1.0)
