"""Llama with embedded pairs of tokens, the architecture of the embedded model (`export/bigrams.py`)."""

from __future__ import annotations

import dataclasses

from export.config import Config
from export.graph import llama
from export.graph.facts import Bigrams, Decoder, Family, Linear


def read(config: Config) -> Decoder:
    """The facts of a config."""
    bigrams = Bigrams(
        table="model.embed_bigrams.weight",
        projection=Linear(("model.bigram_proj.weight",)),
        rows=config.integer("bigram_rows"),
        width=config.integer("bigram_width"),
        multiplier=config.integer("bigram_multiplier"),
    )
    return dataclasses.replace(llama.read(config), bigrams=bigrams)


FAMILY = Family("bigram_llama", ("BigramLlamaForCausalLM",), read)
