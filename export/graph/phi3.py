"""Phi-3, Phi-3.5, Phi-4 and Phi-4-mini: Llama's block with queries, keys and values in one stored matrix,
gate and up in another; heads rotated in part, windows, longrope."""

from __future__ import annotations

import dataclasses

from export.config import Config
from export.graph import llama
from export.graph.facts import Decoder, Family, Linear

TENSORS = dataclasses.replace(
    llama.TENSORS,
    attention=dataclasses.replace(
        llama.TENSORS.attention, input=Linear((llama.BLOCK + "self_attn.qkv_proj.weight",))
    ),
    mlp=dataclasses.replace(llama.TENSORS.mlp, input=Linear((llama.BLOCK + "mlp.gate_up_proj.weight",))),
)


def read(config: Config) -> Decoder:
    """The facts of a Phi-3 config."""
    facts = llama.read_gated(config, TENSORS, epsilon=1e-5, partly_rotated=True)
    if config.fields.get("sliding_window") is None:
        return facts
    return facts.attending(window=config.integer("sliding_window"))


FAMILY = Family("phi3", ("Phi3ForCausalLM",), read)
