"""Llama: SmolLM2, TinyLlama, Llama 3.x. Pre-normed blocks, rotary attention, gated SiLU."""

from __future__ import annotations

from export.config import Config
from export.errors import ExportError
from export.graph.facts import Decoder, Family, Linear, Norm, Tensors
from export.graph.rope import read_rope

BLOCK = "model.layers.{layer}."

TENSORS = Tensors(
    embedding="model.embed_tokens.weight",
    attention_norm=Norm(BLOCK + "input_layernorm.weight"),
    qkv=Linear(tuple(BLOCK + f"self_attn.{part}_proj.weight" for part in "qkv")),
    attention_output=Linear((BLOCK + "self_attn.o_proj.weight",)),
    mlp_norm=Norm(BLOCK + "post_attention_layernorm.weight"),
    mlp_input=Linear((BLOCK + "mlp.gate_proj.weight", BLOCK + "mlp.up_proj.weight")),
    mlp_output=Linear((BLOCK + "mlp.down_proj.weight",)),
    final_norm=Norm("model.norm.weight"),
    head=Linear(("lm_head.weight",)),
    ignored=("*.rotary_emb.inv_freq",),
    prefix="model.",
)


def read(config: Config) -> Decoder:
    """The facts of a Llama config."""
    config.only("attention_bias", (False,), False)
    config.only("mlp_bias", (False,), False)
    return read_gated(config, TENSORS)


def read_gated(config: Config, tensors: Tensors, head_dim: int | None = None) -> Decoder:
    """The facts of any config that speaks Llama's field names; `head_dim` is the family's default for it."""
    config.only("hidden_act", ("silu",), "silu")
    hidden, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    kv_heads = config.integer("num_key_value_heads", heads)
    if heads % kv_heads:
        raise ExportError(f"{config.path}: num_key_value_heads: {kv_heads} does not divide {heads} heads")
    return Decoder(
        layers=config.integer("num_hidden_layers"),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=config.integer("head_dim", head_dim or hidden // heads),
        hidden=hidden,
        intermediate=config.integer("intermediate_size"),
        vocabulary=config.integer("vocab_size"),
        context_tokens=config.integer("max_position_embeddings"),
        norm="rms",
        norm_epsilon=config.number("rms_norm_eps", 1e-6),
        activation="silu",
        gated=True,
        tied=config.flag("tie_word_embeddings", False),
        rope=read_rope(config),
        tensors=tensors,
    )


FAMILY = Family("llama", ("LlamaForCausalLM",), read)
