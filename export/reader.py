"""A Llama with a reader beside it: config and model, as transformers loads them.

The reader is a second, much smaller Llama on columns of the embedding that are its own; beside every token it
also looks up the pair that the token makes with the one before. What both end in lies side by side under one
head, so that their logits add up: a product of two experts. The reader learns to tell questions apart from a
tenth of the arithmetic. Owns what transformers needs to know of the architecture.

Source: Hinton, "Training Products of Experts by Minimizing Contrastive Divergence" (2002); for embedded pairs
Huang et al., "Over-Tokenized Transformer: Vocabulary is Generally Worth Scaling" (2025)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Cache,
    DynamicCache,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
)
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRMSNorm

from handler.engine.bundle import NO_ID


class ReaderLlamaConfig(LlamaConfig):
    """A Llama's config, the sizes of its reader, whose heads are as wide, and of the table of pairs.

    Of the hidden layers the last are the reader's.
    The pair (a, b) has the row (a * bigram_multiplier + b) % bigram_rows.
    """

    model_type = "reader_llama"

    def __init__(
        self,
        reader_hidden_size: int = 128,
        reader_intermediate_size: int = 256,
        reader_num_hidden_layers: int = 4,
        bigram_rows: int = 131071,
        bigram_width: int = 32,
        bigram_multiplier: int = 2654435761,
        **fields: Any,
    ) -> None:
        self.reader_hidden_size = reader_hidden_size
        self.reader_intermediate_size = reader_intermediate_size
        self.reader_num_hidden_layers = reader_num_hidden_layers
        self.bigram_rows, self.bigram_width = bigram_rows, bigram_width
        self.bigram_multiplier = bigram_multiplier
        super().__init__(**fields)

    def of_reader(self) -> LlamaConfig:
        """The reader's config: as many heads as the keys and values of the other have."""
        fields = self.to_dict()
        heads = self.num_key_value_heads
        fields |= {"hidden_size": self.reader_hidden_size, "num_attention_heads": heads}
        fields |= {"intermediate_size": self.reader_intermediate_size, "model_type": LlamaConfig.model_type}
        return LlamaConfig.from_dict(fields, attn_implementation=self._attn_implementation)


class Reader(nn.Module):
    """The reader's layers, which come after the other's in the cache, and its table of pairs."""

    def __init__(self, config: ReaderLlamaConfig) -> None:
        super().__init__()
        self.config = own = config.of_reader()
        numbers = range(config.num_hidden_layers)[-config.reader_num_hidden_layers :]
        self.embed_bigrams = nn.Embedding(config.bigram_rows, config.bigram_width)
        self.bigram_proj = nn.Linear(config.bigram_width, own.hidden_size, bias=False)
        self.layers = nn.ModuleList(LlamaDecoderLayer(own, number) for number in numbers)
        self.norm = LlamaRMSNorm(own.hidden_size, eps=own.rms_norm_eps)
        self.rows, self.multiplier = config.bigram_rows, config.bigram_multiplier

    def read(self, embedded: Tensor, ids: Tensor) -> Tensor:
        """What the layers begin with.

        Shapes: embedded [B, T, C]; ids [B, 1 + T], the one before the first with them -> [B, T, C].
        """
        rows = (ids[:, :-1] * self.multiplier + ids[:, 1:]) % self.rows
        begun: Tensor = embedded + self.bigram_proj(self.embed_bigrams(rows))
        return begun


class ReaderLlamaModel(LlamaModel):
    """Llama's layers and the reader's, side by side.

    A cache remembers the last tokens that were read into it, as `last_ids` [B, 1].
    """

    config_class = ReaderLlamaConfig

    def __init__(self, config: ReaderLlamaConfig) -> None:
        super().__init__(config)
        del self.layers[-config.reader_num_hidden_layers :]
        self.widths = [config.hidden_size, config.reader_hidden_size]
        self.embed_tokens = nn.Embedding(config.vocab_size, sum(self.widths), self.padding_idx)
        self.reader = Reader(config)
        self.is_alone = False  # the reader: what the others would say is left out, in training
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        cache_position: Tensor | None = None,
        **_told: Any,
    ) -> BaseModelOutputWithPast:
        """As Llama's; the states of both lie side by side, the reader's last.

        Shapes: input_ids [B, T] -> last_hidden_state [B, T, C + C of the reader].
        """
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        if cache_position is None:
            start = past_key_values.get_seq_length() if past_key_values is not None else 0
            cache_position = torch.arange(start, start + input_ids.shape[1], device=input_ids.device)
        if position_ids is None:
            position_ids = cache_position[None]
        before = getattr(past_key_values, "last_ids", None)
        if before is None:
            before = torch.full_like(input_ids[:, :1], NO_ID)
        self.reader.config._attn_implementation = self.config._attn_implementation
        embedded, own = self.embed_tokens(input_ids).split(self.widths, dim=-1)
        if not self.norm.weight.requires_grad:  # frozen: neither is what they read
            embedded = embedded.detach()
        around = {
            "attention_mask": create_causal_mask(
                config=self.config,
                input_embeds=embedded,
                attention_mask=attention_mask,
                cache_position=cache_position,
                past_key_values=past_key_values,
                position_ids=position_ids,
            ),
            "position_ids": position_ids,
            "position_embeddings": self.rotary_emb(embedded, position_ids),
            "past_key_values": past_key_values,
            "cache_position": cache_position,
        }
        read = self.reader.read(own, torch.cat([before, input_ids], dim=1))
        said = torch.zeros_like(embedded) if self.is_alone else self._through(self, embedded, around)
        states = torch.cat([said, self._through(self.reader, read, around)], dim=-1)
        if past_key_values is not None:
            past_key_values.last_ids = input_ids[:, -1:]
        return BaseModelOutputWithPast(last_hidden_state=states, past_key_values=past_key_values)

    @staticmethod
    def _through(stack: Any, states: Tensor, around: dict[str, Any]) -> Tensor:
        for layer in stack.layers:
            states = layer(states, **around)
        normed: Tensor = stack.norm(states)
        return normed


class ReaderLlamaForCausalLM(LlamaForCausalLM):
    """One head, tied to the embedding, on the states of both."""

    config_class = ReaderLlamaConfig

    def __init__(self, config: ReaderLlamaConfig) -> None:
        super().__init__(config)
        self.model = ReaderLlamaModel(config)
        self.lm_head = nn.Linear(sum(self.model.widths), config.vocab_size, bias=False)
        self.post_init()


AutoConfig.register(ReaderLlamaConfig.model_type, ReaderLlamaConfig)
AutoModelForCausalLM.register(ReaderLlamaConfig, ReaderLlamaForCausalLM)
