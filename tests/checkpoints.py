"""Tiny checkpoints with random weights: real Hugging Face folders of every family, made in a moment."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

VOCABULARY = 512
CONTEXT_TOKENS = 256
WINDOW = 24  # tokens, fewer than any test's text
PARTLY_ROTATED = {"num_attention_heads": 2, "num_key_value_heads": 1, "partial_rotary_factor": 0.5}
MULTIPLIED = {
    "embedding_multiplier": 2.5,
    "residual_multiplier": 0.6,
    "attention_multiplier": 0.15,
    "logits_scaling": 3.0,
}
CORPUS = (
    "Hello, how are you? I am fine, thank you. What is your name? My name is Dormouse.",
    "The quick brown fox jumps over the lazy dog. user assistant system",
    "你好，你叫什么名字？我叫睡鼠。今天天气很好。",
    "def add(a, b): return a + b  # 1 + 2 = 3",
)
SPECIAL = ("<|end|>", "<|start|>", "<|pad|>")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "<|start|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


THINKING = ("<think>", "</think>")  # in the vocabulary, and not special: they are part of an answer's text
THINKING_TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message.role }}\n"
    "{% if message.role == 'assistant' %}{{ message.content.split('</think>')[-1].lstrip('\n') }}"
    "{% else %}{{ message.content }}{% endif %}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}"
)


def write_tokenizer(folder: Path, *, chat: bool = True, thinking: bool = False) -> None:
    """A byte-level BPE of VOCABULARY entries, with ChatML-like control tokens and a template.

    `thinking`: as Qwen3's, the template leaves out what the assistant thought in earlier turns.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(THINKING) * thinking,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(CORPUS, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=SPECIAL[0], eos_token=SPECIAL[0], pad_token=SPECIAL[2]
    )
    wrapped.chat_template = CHAT_TEMPLATE if chat else None
    if thinking:
        wrapped.add_tokens(list(THINKING))
        wrapped.chat_template = THINKING_TEMPLATE
    wrapped.save_pretrained(folder)


def with_bos(bundle: Path, copy: Path) -> Path:
    """A copy of a tiny bundle whose tokenizer puts a token before every text, as Llama's and Gemma's do."""
    from handler.engine.bundle import PACKED_FILE, TOKENIZER_FILE, read_manifest, write_manifest

    shutil.copytree(bundle, copy)
    (copy / PACKED_FILE).unlink(missing_ok=True)
    bos, id_ = SPECIAL[1], 1
    first, *texts = (
        {"SpecialToken": {"id": bos, "type_id": 0}},
        *({"Sequence": {"id": name, "type_id": 0}} for name in "AB"),
    )
    told = json.loads((copy / TOKENIZER_FILE).read_text(encoding="utf-8"))
    told["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [first, texts[0]],
        "pair": [first, *texts],
        "special_tokens": {bos: {"id": bos, "ids": [id_], "tokens": [bos]}},
    }
    (copy / TOKENIZER_FILE).write_text(json.dumps(told), encoding="utf-8")
    manifest = read_manifest(copy)
    write_manifest(copy, dataclasses.replace(manifest, tokens=dataclasses.replace(manifest.tokens, bos=id_)))
    return copy


def config_of(family: str, **changes: Any) -> Any:
    """A transformers config of a family's shape, far smaller than any real one."""
    import transformers as hf

    from export.reader import ReaderLlamaConfig

    llama_like = {
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "intermediate_size": 192,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT_TOKENS,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 2,
        "initializer_range": 0.2,  # wide, so that attention and logits are far from flat
    }
    gemma = {
        **llama_like,
        "head_dim": 32,
        "query_pre_attn_scalar": 24,
        "sliding_window": WINDOW,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    }
    gpt2 = {
        "vocab_size": VOCABULARY,
        "n_embd": 64,
        "n_layer": 3,
        "n_head": 4,
        "n_positions": CONTEXT_TOKENS,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "initializer_range": 0.2,
    }
    reader = {"reader_hidden_size": 32, "reader_intermediate_size": 64, "reader_num_hidden_layers": 1}
    pairs = {"bigram_rows": 251, "bigram_width": 32}
    makers: dict[str, tuple[Any, dict[str, Any]]] = {
        "reader_llama": (ReaderLlamaConfig, {**llama_like, **reader, **pairs, "tie_word_embeddings": True}),
        "llama": (hf.LlamaConfig, {**llama_like, "tie_word_embeddings": True}),
        "qwen2": (hf.Qwen2Config, {**llama_like, "tie_word_embeddings": True, "rope_theta": 1e6}),
        "qwen3": (hf.Qwen3Config, {**llama_like, "head_dim": 32, "rope_theta": 1e6}),
        "gpt2": (hf.GPT2Config, gpt2),
        "mistral": (hf.MistralConfig, {**llama_like, "head_dim": 32, "sliding_window": WINDOW}),
        "phi3": (hf.Phi3Config, {**llama_like, **PARTLY_ROTATED, "sliding_window": WINDOW}),
        "olmo2": (hf.Olmo2Config, llama_like),
        "smollm3": (hf.SmolLM3Config, {**llama_like, "no_rope_layer_interval": 2}),
        "granite": (hf.GraniteConfig, {**llama_like, **MULTIPLIED}),
        "gemma2": (hf.Gemma2Config, {**gemma, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 4.0}),
        "gemma3": (hf.Gemma3TextConfig, {**gemma, "rope_scaling": {"rope_type": "linear", "factor": 8.0}}),
    }
    maker, fields = makers[family]
    return maker(**{**fields, **changes})


def write_checkpoint(
    folder: Path, family: str, *, seed: int = 0, dtype: str = "float32", shard: str = "1GB", **changes: Any
) -> Path:
    """A folder with config, random weights and tokenizer; every bias and norm is random too.

    `changes` go into the config. GPT-2 is a base model and gets no chat template.
    """
    import torch
    import transformers as hf

    config = config_of(family, **changes)
    torch.manual_seed(seed)
    model = hf.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:  # else a bias of zero or a norm of one would hide a mistake
                stored_as_distance = family.startswith("gemma")
                start = 1.0 if ("norm" in name or ".ln_" in name) and not stored_as_distance else 0.0
                keep = start if name.endswith("weight") else 0.0
                parameter.copy_(keep + 0.2 * torch.randn_like(parameter))
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=shard)
    write_tokenizer(folder, chat=family != "gpt2")
    return folder
