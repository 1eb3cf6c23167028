"""Rotary position embedding: the cosine and sine tables, scaled as the checkpoint's config says.

Owns the scaling kinds that are supported, and refuses the others by name. Angles are computed in float32 as
the models were trained and as transformers does, not more precisely. Does not know ONNX.

Source: https://arxiv.org/abs/2104.09864; llama3 scaling: transformers' `modeling_rope_utils`.
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

Float32 = NDArray[np.float32]
SUPPORTED = ("default", "linear", "llama3")


def read_rope(config: Config, default_theta: float = 10_000.0) -> Rope:
    """The rotary facts in a config, spelled as in transformers 4 (`rope_scaling`) or 5 (`rope_parameters`).

    Raises: UnsupportedFeature naming the kind of scaling; ExportError for a field that is missing in it.
    """
    field = "rope_parameters" if config.fields.get("rope_parameters") else "rope_scaling"
    scaling = config.fields.get(field) or {}
    if not isinstance(scaling, dict):
        raise ExportError(f"{config.path}: {field}: {scaling!r}, must be an object or null")
    theta = scaling.get("rope_theta", config.number("rope_theta", default_theta))
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind not in SUPPORTED:
        raise UnsupportedFeature(
            f"{config.path}: {field}: rotary scaling {kind!r} is not supported, only {', '.join(SUPPORTED)}"
        )
    if config.fields.get("partial_rotary_factor", scaling.get("partial_rotary_factor", 1.0)) != 1.0:
        raise UnsupportedFeature(f"{config.path}: partial_rotary_factor: only 1.0 is supported")
    needed = {"linear": ("factor",), "llama3": LLAMA3_FIELDS}.get(kind, ())
    for name in needed:
        value = scaling.get(name)
        if not isinstance(value, int | float) or value <= 0:
            raise ExportError(f"{config.path}: {field}.{name}: {value!r}, must be a number above 0")
    return Rope(float(theta), {"kind": kind, **{name: scaling[name] for name in needed}})


LLAMA3_FIELDS = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")


def rope_tables(rope: Rope, head_dim: int, positions: int) -> tuple[Float32, Float32]:
    """Cosines and sines, each [positions, head_dim / 2]."""
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    frequencies = (1.0 / np.power(rope.theta, exponents.astype(np.float64))).astype(np.float32)
    kind = rope.scaling.get("kind", "default")
    if kind == "linear":
        frequencies = frequencies / np.float32(rope.scaling["factor"])
    elif kind == "llama3":
        frequencies = _llama3(frequencies, rope.scaling)
    angles = np.outer(np.arange(positions, dtype=np.float32), frequencies)  # [positions, D / 2]
    return np.cos(angles), np.sin(angles)


def _llama3(frequencies: Float32, scaling: Mapping[str, Any]) -> Float32:
    """Long wavelengths are stretched by `factor`, short ones kept, those between blended smoothly."""
    factor, low, high, trained = (scaling[name] for name in LLAMA3_FIELDS)
    wavelengths = 2 * math.pi / frequencies
    blend = np.clip((trained / wavelengths - low) / (high - low), 0.0, 1.0)
    blended: Float32 = ((1 - blend) * frequencies / factor + blend * frequencies).astype(np.float32)
    return blended
