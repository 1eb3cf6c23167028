"""A Llama that reads pairs of tokens too: config and model, as transformers loads them.

Beside its own row of the embedding every token adds one for the pair it makes with the token before. There
are fewer rows than pairs, which share them by a hash. A small model learns to read from a third of the text
by it, for no more arithmetic than a lookup. Owns what transformers needs to know of the architecture.

Source: Huang et al., "Over-Tokenized Transformer: Vocabulary is Generally Worth Scaling" (2025)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, Cache, LlamaConfig, LlamaForCausalLM, LlamaModel
from transformers.modeling_outputs import BaseModelOutputWithPast

from handler.engine.bundle import NO_ID


class BigramLlamaConfig(LlamaConfig):
    """A Llama's config, and the sizes of the table of pairs.

    The pair (a, b) has the row (a * bigram_multiplier + b) % bigram_rows.
    """

    model_type = "bigram_llama"

    def __init__(
        self,
        bigram_rows: int = 65521,
        bigram_width: int = 64,
        bigram_multiplier: int = 2654435761,
        **fields: Any,
    ) -> None:
        self.bigram_rows, self.bigram_width = bigram_rows, bigram_width
        self.bigram_multiplier = bigram_multiplier
        super().__init__(**fields)


class BigramLlamaModel(LlamaModel):
    """Llama's layers on embedded tokens and pairs.

    A cache remembers the last tokens that were read into it, as `last_ids` [B, 1]; before the first token of
    a text there is none.
    """

    config_class = BigramLlamaConfig

    def __init__(self, config: BigramLlamaConfig) -> None:
        super().__init__(config)
        self.embed_bigrams = nn.Embedding(config.bigram_rows, config.bigram_width)
        self.bigram_proj = nn.Linear(config.bigram_width, config.hidden_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        **others: Any,
    ) -> BaseModelOutputWithPast:
        """As Llama's; of `inputs_embeds`, which have no tokens, there are no pairs.

        Shapes: input_ids [B, T].
        """
        if input_ids is not None:
            before = getattr(past_key_values, "last_ids", None)
            if before is None:
                before = torch.full_like(input_ids[:, :1], NO_ID)
            pairs = self.embed_bigrams(self._rows(torch.cat([before, input_ids], dim=1)))
            inputs_embeds = self.embed_tokens(input_ids) + self.bigram_proj(pairs)
        found = super().forward(past_key_values=past_key_values, inputs_embeds=inputs_embeds, **others)
        if input_ids is not None and found.past_key_values is not None:
            found.past_key_values.last_ids = input_ids[:, -1:]
        return found

    def _rows(self, ids: Tensor) -> Tensor:
        """Shapes: [B, 1 + T] -> [B, T]."""
        config = self.config
        return (ids[:, :-1] * config.bigram_multiplier + ids[:, 1:]) % config.bigram_rows


class BigramLlamaForCausalLM(LlamaForCausalLM):
    """Llama's head on these layers."""

    config_class = BigramLlamaConfig

    def __init__(self, config: BigramLlamaConfig) -> None:
        super().__init__(config)
        self.model = BigramLlamaModel(config)
        self.post_init()


AutoConfig.register(BigramLlamaConfig.model_type, BigramLlamaConfig)
AutoModelForCausalLM.register(BigramLlamaConfig, BigramLlamaForCausalLM)
