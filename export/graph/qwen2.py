"""Qwen2 and Qwen2.5: Llama's block with biases on queries, keys and values; upper layers may have windows."""

from __future__ import annotations

import dataclasses

from export.config import Config
from export.graph import llama
from export.graph.facts import Decoder, Family
from export.graph.windows import read_windows

TENSORS = dataclasses.replace(
    llama.TENSORS,
    attention=dataclasses.replace(llama.TENSORS.attention, input=llama.TENSORS.attention.input.with_biases()),
)


def read(config: Config) -> Decoder:
    """The facts of a Qwen2 config."""
    return windowed(config, llama.read_gated(config, TENSORS))


def windowed(config: Config, facts: Decoder) -> Decoder:
    """The same facts with windows in the layers from `max_window_layers` on, where they are switched on."""
    if not config.flag("use_sliding_window", False) or config.fields.get("sliding_window", 4096) is None:
        return facts
    first = config.integer("max_window_layers", 28, zero=True)
    return facts.windowed(read_windows(config, facts.layers, lambda layer: layer >= first, default=4096))


FAMILY = Family("qwen2", ("Qwen2ForCausalLM",), read)
