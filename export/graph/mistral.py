"""Mistral: Llama's block; in the first versions every layer sees a window of the last tokens."""

from __future__ import annotations

from export.config import Config
from export.graph import llama
from export.graph.facts import Decoder, Family


def read(config: Config) -> Decoder:
    """The facts of a Mistral config."""
    facts = llama.read_gated(config, llama.TENSORS)
    if "sliding_window" in config.fields and config.fields["sliding_window"] is None:
        return facts
    return facts.attending(window=config.integer("sliding_window", 4096))


FAMILY = Family("mistral", ("MistralForCausalLM",), read)
