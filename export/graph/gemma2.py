"""Gemma 2: parts normed on both ways, norms that store their distance from one, scaled embeddings, gated
GELU, every other layer with a window, scores and logits softly capped."""

from __future__ import annotations

import dataclasses

from export.config import Config
from export.graph import llama
from export.graph.facts import Decoder, Family, Multipliers, Norm, Tensors
from export.graph.windows import read_windows


def _norm(name: str) -> Norm:
    return Norm(f"{llama.BLOCK}{name}.weight", offset=1.0)


TENSORS = dataclasses.replace(
    llama.TENSORS,
    attention=dataclasses.replace(
        llama.TENSORS.attention,
        norm=_norm("input_layernorm"),
        post_norm=_norm("post_attention_layernorm"),
    ),
    mlp=dataclasses.replace(
        llama.TENSORS.mlp,
        norm=_norm("pre_feedforward_layernorm"),
        post_norm=_norm("post_feedforward_layernorm"),
    ),
    final_norm=Norm("model.norm.weight", offset=1.0),
)
HEAD_DIM = 256  # where the config does not say


def read(config: Config) -> Decoder:
    """The facts of a Gemma 2 config."""
    facts = read_gemma(config, TENSORS, theta=10_000.0)
    windows = read_windows(config, facts.layers, lambda layer: layer % 2 == 0, default=4096)
    return dataclasses.replace(
        facts.windowed(windows).attending(softcap=_cap(config, "attn_logit_softcapping", 50.0)),
        logit_softcap=_cap(config, "final_logit_softcapping", 30.0),
    )


def read_gemma(config: Config, tensors: Tensors, theta: float) -> Decoder:
    """What all Gemmas share; windows and caps are left to the caller."""
    config.only("hidden_activation", ("gelu_pytorch_tanh",), "gelu_pytorch_tanh")
    config.only("use_bidirectional_attention", (False, None), None)
    silent = Config({**config.fields, "hidden_act": "silu"}, config.path)  # an old field that nothing reads
    facts = llama.read_gated(silent, llama.biased(config, tensors), head_dim=HEAD_DIM, theta=theta, tied=True)
    facts = facts.attending(scale=config.number("query_pre_attn_scalar", 256.0) ** -0.5)
    multipliers = Multipliers(embedding=facts.hidden**0.5)
    return dataclasses.replace(facts, activation="gelu_tanh", multipliers=multipliers)


def _cap(config: Config, name: str, default: float) -> float | None:
    return config.optional_number(name) if name in config.fields else default


FAMILY = Family("gemma2", ("Gemma2ForCausalLM",), read)
