"""Gemma 3, text alone: Gemma 2's block with queries and keys normed over each head and no caps; five layers
in six have a window and rotate by a base of their own."""

from __future__ import annotations

import dataclasses

from export.config import Config
from export.graph import gemma2, llama
from export.graph.facts import Decoder, Family, Norm, Rope
from export.graph.rope import of_one_kind
from export.graph.windows import read_windows

TENSORS = dataclasses.replace(
    gemma2.TENSORS,
    query_norm=Norm(llama.BLOCK + "self_attn.q_norm.weight", offset=1.0, each_head=True),
    key_norm=Norm(llama.BLOCK + "self_attn.k_norm.weight", offset=1.0, each_head=True),
)


def read(config: Config) -> Decoder:
    """The facts of a Gemma 3 text config."""
    config = of_one_kind(config)
    config.only("attn_logit_softcapping", (None,), None)  # transformers reads it and does not apply it
    facts = gemma2.read_gemma(config, TENSORS, theta=1_000_000.0)
    pattern = config.integer("sliding_window_pattern", 6)
    windows = read_windows(config, facts.layers, lambda layer: (layer + 1) % pattern != 0, default=4096)
    local = Rope(config.number("rope_local_base_freq", 10_000.0))
    return dataclasses.replace(
        facts,
        attention=tuple(
            dataclasses.replace(each, window=window, rope=each.rope if window is None else local)
            for each, window in zip(facts.attention, windows, strict=True)
        ),
        logit_softcap=config.optional_number("final_logit_softcapping"),
    )


FAMILY = Family("gemma3", ("Gemma3ForCausalLM",), read)
