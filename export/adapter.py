"""LoRA adapters: what a peft folder adds to its base model's matrices, added while they are read.

Owns the arithmetic, W + scale * B A, and what of peft's choices is refused because it is more than that. The
base is never written anywhere: its rows change on their way. Does not know architectures.

Source: https://arxiv.org/abs/2106.09685 (LoRA), https://arxiv.org/abs/2312.03732 (its rank-stabilized scale)
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.config import Config, read_json_object
from export.errors import ExportError, UnsupportedFeature
from export.weights import Weights

Float32 = NDArray[np.float32]

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
MODULE = re.compile(r"base_model\.model\.(.+)\.lora_A\.weight")
PLAIN_STARTS = (True, False, "gaussian", "orthogonal", "eva")  # the others change the base's weights as well
REFUSED = (  # fields that ask for more than W + scale * B A
    "alora_invocation_tokens",
    "layer_replication",
    "lora_bias",
    "modules_to_save",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
)


@dataclass(frozen=True)
class Change:
    """What is added to one matrix."""

    down: Float32  # A [r, in]
    up: Float32  # B [out, r]
    scale: float
    transposed: bool  # the matrix is stored [in, out]

    @property
    def shape(self) -> tuple[int, int]:
        """Of the matrix as stored."""
        out, into = len(self.up), self.down.shape[1]
        return (into, out) if self.transposed else (out, into)

    def rows(self, start: int, stop: int) -> Float32:
        """Some rows of it."""
        if self.transposed:
            return np.float32(self.scale) * (self.down[:, start:stop].T @ self.up.T)
        return np.float32(self.scale) * (self.up[start:stop] @ self.down)


class Adapter:
    """A peft folder with a LoRA adapter.

    Raises: UnsupportedFeature naming a field that asks for more; ExportError.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        fields = read_json_object(folder / CONFIG_FILE)
        if fields is None:
            raise ExportError(f"{folder}: holds no {CONFIG_FILE}; an adapter is a folder that peft wrote")
        self.config = Config(fields, folder / CONFIG_FILE)
        self._check()
        self._alphas = self._read_alphas()
        self.weights_file = folder / WEIGHTS_FILE
        if not self.weights_file.is_file():
            raise ExportError(f"{folder}: holds no {WEIGHTS_FILE}; only safetensors weights are read")

    @property
    def base(self) -> str:
        """The hub id or folder of the model it was trained on."""
        name = self.config.fields.get("base_model_name_or_path")
        if not isinstance(name, str) or not name:
            raise ExportError(
                f"{self.config.path}: base_model_name_or_path: {name!r}, must name the base model"
            )
        return name

    def changes(self) -> dict[str, Change]:
        """What is added, by the names that transformers gives the base's tensors."""
        transposed = self.config.flag("fan_in_fan_out", False)
        with Weights(self.folder, [self.weights_file]) as weights:
            names = set(weights)
            found = {}
            for down in sorted(names):
                match = MODULE.fullmatch(down)
                up = down.replace(".lora_A.", ".lora_B.")
                if match is None or up not in names:
                    continue
                names -= {down, up}
                a, b = weights.shape(down), weights.shape(up)
                if not (len(a) == len(b) == 2 and 0 < a[0] == b[1]):
                    found_shapes = f"lora_A {list(a)} and lora_B {list(b)}"
                    raise ExportError(
                        f"{self.weights_file}: {match[1]}: {found_shapes}, must be [r, in] and [out, r]"
                    )
                parts = weights.read(down), weights.read(up)
                scale = self._scale(match[1], len(parts[0]))
                found[f"{match[1]}.weight"] = Change(*parts, scale, transposed)
            if names or not found:
                name = min(names, default="none")
                raise UnsupportedFeature(
                    f"{self.weights_file}: tensor {name} is not supported, only pairs of lora_A and lora_B"
                )
        return found

    def _scale(self, module: str, rank: int) -> float:
        common = self.config.number("lora_alpha", 8.0)
        alpha = next((own for pattern, own in self._alphas if pattern.match(module)), common)
        return alpha / (math.sqrt(rank) if self.config.flag("use_rslora", False) else rank)

    def _read_alphas(self) -> list[tuple[re.Pattern[str], float]]:
        """The modules that have an alpha of their own, each by the first pattern that it fits."""
        told = self.config.fields.get("alpha_pattern") or {}
        if not isinstance(told, dict):
            raise ExportError(f"{self.config.path}: alpha_pattern: {told!r}, must be an object or null")
        inside = Config(told, self.config.path, "alpha_pattern.")
        try:
            return [(re.compile(rf"(.*\.)?({name})$"), inside.number(name)) for name in told]
        except re.error as error:
            raise ExportError(f"{self.config.path}: alpha_pattern: {error.pattern!r}: {error}") from None

    def _check(self) -> None:
        fields = self.config.fields
        wrong = [name for name in REFUSED if fields.get(name)]
        for name, allowed, default in (
            ("peft_type", ("LORA",), "LORA"),
            ("bias", ("none",), "none"),
            ("init_lora_weights", PLAIN_STARTS, True),
        ):
            wrong += [name] if fields.get(name, default) not in allowed else []
        if wrong:
            name, value = wrong[0], fields[wrong[0]]
            raise UnsupportedFeature(
                f"{self.config.path}: {name}: {value!r} is not supported, only plain LoRA is merged"
            )


class AdaptedWeights(Weights):
    """A base model's tensors with an adapter's changes in them.

    Raises: ExportError naming a change that fits no tensor of the base.
    """

    def __init__(self, folder: Path, adapter: Adapter) -> None:
        super().__init__(folder)
        self._changes: dict[str, Change] = {}
        for name, change in adapter.changes().items():
            stored = self._stored_as(name)
            if stored is None or self.shape(stored) != change.shape:
                found = "no such tensor" if stored is None else f"shape {list(self.shape(stored))}"
                wanted = f"{name} {list(change.shape)}"
                raise ExportError(f"{adapter.weights_file}: changes {wanted}, the base {folder} has {found}")
            self._changes[stored] = change
        self.changed = frozenset(self._changes)

    def _fill(self, rows: Float32, name: str, start: int) -> None:
        """Read a tensor's rows from `start` on, changed."""
        super()._fill(rows, name, start)
        if name in self._changes:
            rows += self._changes[name].rows(start, start + len(rows))

    def _stored_as(self, name: str) -> str | None:
        """The base's name for a tensor: a checkpoint of the bare model lacks the first part of it."""
        bare = name.partition(".")[2]
        return next((known for known in (name, bare) if known in self), None)
