"""Llama: SmolLM2, TinyLlama, Llama 3.x. Pre-normed blocks, rotary attention, gated SiLU."""

from __future__ import annotations

import dataclasses

from export.config import Config
from export.errors import ExportError
from export.graph.facts import Attention, Decoder, Family, Linear, Norm, Part, Tensors
from export.graph.rope import read_rope, trained_context

BLOCK = "model.layers.{layer}."

TENSORS = Tensors(
    embedding="model.embed_tokens.weight",
    attention=Part(
        norm=Norm(BLOCK + "input_layernorm.weight"),
        input=Linear(tuple(BLOCK + f"self_attn.{part}_proj.weight" for part in "qkv")),
        output=Linear((BLOCK + "self_attn.o_proj.weight",)),
    ),
    mlp=Part(
        norm=Norm(BLOCK + "post_attention_layernorm.weight"),
        input=Linear((BLOCK + "mlp.gate_proj.weight", BLOCK + "mlp.up_proj.weight")),
        output=Linear((BLOCK + "mlp.down_proj.weight",)),
    ),
    final_norm=Norm("model.norm.weight"),
    head=Linear(("lm_head.weight",)),
    ignored=("*.rotary_emb.inv_freq",),
    prefix="model.",
)


def read(config: Config) -> Decoder:
    """The facts of a Llama config."""
    return read_gated(config, biased(config, TENSORS))


def biased(config: Config, tensors: Tensors) -> Tensors:
    """The tensors with the biases that `attention_bias` and `mlp_bias` say are there."""
    if config.flag("attention_bias", False):
        tensors = dataclasses.replace(tensors, attention=tensors.attention.with_biases())
    if config.flag("mlp_bias", False):
        tensors = dataclasses.replace(tensors, mlp=tensors.mlp.with_biases())
    return tensors


def read_gated(
    config: Config,
    tensors: Tensors,
    *,
    head_dim: int | None = None,
    epsilon: float = 1e-6,
    theta: float = 10_000.0,
    tied: bool = False,
    partly_rotated: bool = False,
) -> Decoder:
    """The facts of any config that speaks Llama's field names; what is not said there, the family says.

    Of `partial_rotary_factor` transformers computes nothing but 1 where a family is not `partly_rotated`.
    """
    config.only("hidden_act", ("silu",), "silu")
    hidden, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    kv_heads = config.integer("num_key_value_heads", heads)
    if heads % kv_heads:
        raise ExportError(f"{config.path}: num_key_value_heads: {kv_heads} does not divide {heads} heads")
    rope = read_rope(config, theta)
    if not partly_rotated:
        name = "partial_rotary_factor"  # wherever it was told
        Config({**config.fields, name: rope.fraction}, config.path).only(name, (1.0,), 1.0)
    return Decoder(
        heads=heads,
        kv_heads=kv_heads,
        head_dim=config.integer("head_dim", head_dim or hidden // heads),
        hidden=hidden,
        intermediate=config.integer("intermediate_size"),
        vocabulary=config.integer("vocab_size"),
        context_tokens=trained_context(config, rope),
        norm="rms",
        norm_epsilon=config.number("rms_norm_eps", epsilon),
        activation="silu",
        gated=True,
        tied=config.flag("tie_word_embeddings", tied),
        attention=(Attention(rope),) * config.integer("num_hidden_layers"),
        tensors=tensors,
    )


FAMILY = Family("llama", ("LlamaForCausalLM",), read)
