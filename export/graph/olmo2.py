"""OLMo 2: parts read the stream as it is and are normed on their way back; queries and keys are normed over
all heads together."""

from __future__ import annotations

import dataclasses

from export.config import Config
from export.graph import llama
from export.graph.facts import Decoder, Family, Norm

TENSORS = dataclasses.replace(
    llama.TENSORS,
    attention=dataclasses.replace(
        llama.TENSORS.attention,
        norm=None,
        post_norm=Norm(llama.BLOCK + "post_attention_layernorm.weight"),
    ),
    mlp=dataclasses.replace(
        llama.TENSORS.mlp, norm=None, post_norm=Norm(llama.BLOCK + "post_feedforward_layernorm.weight")
    ),
    query_norm=Norm(llama.BLOCK + "self_attn.q_norm.weight"),
    key_norm=Norm(llama.BLOCK + "self_attn.k_norm.weight"),
)


def read(config: Config) -> Decoder:
    """The facts of an OLMo 2 config."""
    return llama.read_gated(config, llama.biased(config, TENSORS), epsilon=1e-5)


FAMILY = Family("olmo2", ("Olmo2ForCausalLM",), read)
