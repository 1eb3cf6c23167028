"""Qwen3: Llama's block with queries and keys normed over each head before the rotation."""

from __future__ import annotations

import dataclasses

from export.config import Config
from export.graph import llama, qwen2
from export.graph.facts import Decoder, Family, Norm

TENSORS = dataclasses.replace(
    llama.TENSORS,
    query_norm=Norm(llama.BLOCK + "self_attn.q_norm.weight", each_head=True),
    key_norm=Norm(llama.BLOCK + "self_attn.k_norm.weight", each_head=True),
)
HEAD_DIM = 128  # where the config does not say; it is not hidden_size / heads


def read(config: Config) -> Decoder:
    """The facts of a Qwen3 config."""
    tensors = llama.biased(config, TENSORS)
    return qwen2.windowed(config, llama.read_gated(config, tensors, head_dim=HEAD_DIM))


FAMILY = Family("qwen3", ("Qwen3ForCausalLM",), read)
