"""Shapes, makes, loads and saves the model: a small Llama, with a reader beside it where asked for.

Owns the sizes and the generation defaults written into the checkpoint. Knows nothing of the corpus.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from export.house.tokenizer import END, PAD
from export.reader import ReaderLlamaConfig, ReaderLlamaForCausalLM


@dataclass(frozen=True)
class ModelSize:
    """The sizes of a model; hidden and intermediate divide by the block of int4 quantization."""

    hidden: int = 512
    layers: int = 6
    heads: int = 16
    kv_heads: int = 8
    head_dim: int = 32
    intermediate: int = 1024
    context_tokens: int = 1024


def new_model(size: ModelSize, tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """Return a model with random weights drawn from the seed."""
    torch.manual_seed(seed)
    end = tokenizer.convert_tokens_to_ids(END)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        head_dim=size.head_dim,
        intermediate_size=size.intermediate,
        max_position_embeddings=size.context_tokens,
        rope_theta=10000.0,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=tokenizer.convert_tokens_to_ids(PAD),
        attn_implementation="sdpa",
    )
    return LlamaForCausalLM(config)


def with_reader(model: LlamaForCausalLM, seed: int) -> ReaderLlamaForCausalLM:
    """Return the model with a reader beside it, whose weights are drawn from the seed.

    One that has a reader stays as it is.
    """
    if isinstance(model, ReaderLlamaForCausalLM):
        return model
    config = ReaderLlamaConfig.from_dict(
        {**model.config.to_dict(), "model_type": ReaderLlamaConfig.model_type}
    )
    config.num_hidden_layers += config.reader_num_hidden_layers
    torch.manual_seed(seed)
    joined = ReaderLlamaForCausalLM(config)
    known = model.state_dict()
    table = joined.model.embed_tokens.weight
    own = known.pop("model.embed_tokens.weight")
    del known["lm_head.weight"]  # tied to the table
    joined.load_state_dict(known, strict=False)
    with torch.no_grad():
        table[:, : own.shape[1]] = own
    joined.generation_config = model.generation_config
    joined.eval()
    return joined


def teach_reader(model: LlamaForCausalLM, seed: int, *, alone: bool) -> ReaderLlamaForCausalLM:
    """Return the model with a reader, and nothing else learning: `alone`, or what the others leave unsaid."""
    taught = with_reader(model, seed)
    inner = taught.model
    for parameter in (*inner.layers.parameters(), *inner.norm.parameters()):
        parameter.requires_grad_(False)
    others, table = inner.widths[0], inner.embed_tokens.weight  # the head is tied to the table
    inner.is_alone = alone
    if alone:  # what the others end in is zero
        taught.lm_head.forward = lambda states: F.linear(states[..., others:], table[:, others:])
    else:
        table.register_hook(lambda gradient: F.pad(gradient[:, others:], (others, 0)))
    return taught


def save_checkpoint(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the checkpoint as a Hugging Face folder, weights in bfloat16."""
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=0.3,  # it is asked for facts; at 0.7 it now and then draws another family's answer
        top_p=0.9,
        max_new_tokens=256,
        eos_token_id=model.config.eos_token_id,
        pad_token_id=model.config.pad_token_id,
    )
    folder.mkdir(parents=True, exist_ok=True)
    full = {name: value.clone() for name, value in model.state_dict().items()}
    model.to(torch.bfloat16).save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder, save_jinja_files=False)  # the template goes into tokenizer_config.json
    model.to(torch.float32).load_state_dict(full)


@torch.no_grad()
def blend(model: LlamaForCausalLM, start: LlamaForCausalLM, part: float) -> None:
    """Leave the model at `part` of the way from the weights of `start` to its own.

    Source: Wortsman et al., "Robust fine-tuning of zero-shot models" (2022).
    """
    for mine, before in zip(model.parameters(), start.parameters(), strict=True):
        mine.lerp_(before, 1 - part)


def load_checkpoint(folder: Path) -> LlamaForCausalLM:
    """Return the model of the folder in float32, ready to answer."""
    model: LlamaForCausalLM = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.eval()
    return model
