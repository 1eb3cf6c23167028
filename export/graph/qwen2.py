"""Qwen2 and Qwen2.5: Llama's block with biases on queries, keys and values."""

from __future__ import annotations

import dataclasses

from export.config import Config
from export.graph import llama
from export.graph.facts import Decoder, Family, Linear

QKV = Linear(
    weights=llama.TENSORS.qkv.weights,
    biases=tuple(llama.BLOCK + f"self_attn.{part}_proj.bias" for part in "qkv"),
)
TENSORS = dataclasses.replace(llama.TENSORS, qkv=QKV)


def read(config: Config) -> Decoder:
    """The facts of a Qwen2 config."""
    config.only("use_sliding_window", (False,), False)
    return llama.read_gated(config, TENSORS)


FAMILY = Family("qwen2", ("Qwen2ForCausalLM",), read)
