"""Granite 3: Llama's block with constants on the embeddings, the scores, what parts add, and the logits."""

from __future__ import annotations

import dataclasses

from export.config import Config
from export.graph import llama
from export.graph.facts import Decoder, Family, Multipliers


def read(config: Config) -> Decoder:
    """The facts of a Granite config."""
    facts = llama.read_gated(config, llama.biased(config, llama.TENSORS))
    multipliers = Multipliers(
        embedding=config.number("embedding_multiplier", 1.0),
        residual=config.number("residual_multiplier", 1.0),
        logits=1.0 / config.number("logits_scaling", 1.0),
    )
    facts = facts.attending(scale=config.number("attention_multiplier", 1.0))
    return dataclasses.replace(facts, multipliers=multipliers)


FAMILY = Family("granite", ("GraniteForCausalLM",), read)
