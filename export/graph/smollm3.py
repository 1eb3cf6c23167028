"""SmolLM3: Llama's block; one layer in four does not rotate, and only those may have windows."""

from __future__ import annotations

import dataclasses

from export.config import Config
from export.errors import ExportError
from export.graph import llama
from export.graph.facts import Decoder, Family
from export.graph.windows import read_windows


def read(config: Config) -> Decoder:
    """The facts of a SmolLM3 config."""
    tensors = llama.biased(config, llama.TENSORS)
    facts = llama.read_gated(config, tensors, theta=2_000_000.0, tied=True)
    rotates = _rotating_layers(config, facts.layers)
    facts = dataclasses.replace(
        facts,
        attention=tuple(
            each if rotating else dataclasses.replace(each, rope=None)
            for each, rotating in zip(facts.attention, rotates, strict=True)
        ),
    )
    if not config.flag("use_sliding_window", False) or config.fields.get("sliding_window") is None:
        return facts
    return facts.windowed(read_windows(config, facts.layers, lambda layer: not rotates[layer]))


def _rotating_layers(config: Config, layers: int) -> list[bool]:
    told = config.fields.get("no_rope_layers")
    if told is None:
        interval = config.integer("no_rope_layer_interval", 4)
        return [(layer + 1) % interval != 0 for layer in range(layers)]
    if not isinstance(told, list) or len(told) != layers or set(told) - {0, 1}:
        rule = f"must be a list of {layers} numbers: 1 where a layer rotates, else 0"
        raise ExportError(f"{config.path}: no_rope_layers: {rule}")
    return [bool(one) for one in told]


FAMILY = Family("smollm3", ("SmolLM3ForCausalLM",), read)
