"""Checkpoints of well-known shapes with random weights: `python -m bench.shapes smollm2-135m OUT`.

Speed, memory and load time depend on shapes alone, so no download is needed to measure them. Owns the configs
and the tensor layout of those models; weights go to disk one tensor at a time, in bfloat16 as they are
published. The tokenizer is byte-level BPE with as many entries as the original's, its merges made up.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import string
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHAT_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

Shapes = Iterator[tuple[str, tuple[int, ...]]]

SHAPES: dict[str, dict[str, Any]] = {
    "smollm2-135m": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49152,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "rope_theta": 100000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
    },
    "qwen2.5-0.5b": {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "hidden_act": "silu",
        "use_sliding_window": False,
        "tie_word_embeddings": True,
    },
    "llama-1.1b": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 22,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "vocab_size": 32000,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
    },
    "gpt2": {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "n_embd": 768,
        "n_layer": 12,
        "n_head": 12,
        "n_positions": 1024,
        "vocab_size": 50257,
        "layer_norm_epsilon": 1e-5,
        "activation_function": "gelu_new",
        "tie_word_embeddings": True,
    },
}


def write_shape(shape: str, folder: Path, seed: int = 0) -> Path:
    """Write the checkpoint of one shape; the same seed gives the same bytes."""
    config = dict(SHAPES[shape])
    folder.mkdir(parents=True, exist_ok=True)
    chat = config["model_type"] != "gpt2"
    end = config["vocab_size"] - 1 if not chat else config["vocab_size"] - len(CHAT_TOKENS) + 2
    config |= {"torch_dtype": "bfloat16", "eos_token_id": end, "bos_token_id": end}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": end, "bos_token_id": end}))
    (folder / "README.md").write_text(
        f"---\nlicense: apache-2.0\n---\nRandom weights in the shape of {shape}.\n"
    )
    tensors = gpt2_tensors(config) if config["model_type"] == "gpt2" else llama_tensors(config)
    write_random_safetensors(folder / "model.safetensors", list(tensors), seed)
    write_tokenizer(folder, config["vocab_size"], chat)
    return folder


def llama_tensors(config: dict[str, Any]) -> Shapes:
    """Names and shapes of Llama's tensors, and of Qwen2's, which has three biases more a layer."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    keys = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    yield "model.embed_tokens.weight", (config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        block = f"model.layers.{layer}."
        yield block + "input_layernorm.weight", (hidden,)
        for part, height in (("q", hidden), ("k", keys), ("v", keys)):
            yield block + f"self_attn.{part}_proj.weight", (height, hidden)
            if config["model_type"] == "qwen2":
                yield block + f"self_attn.{part}_proj.bias", (height,)
        yield block + "self_attn.o_proj.weight", (hidden, hidden)
        yield block + "post_attention_layernorm.weight", (hidden,)
        yield block + "mlp.gate_proj.weight", (inner, hidden)
        yield block + "mlp.up_proj.weight", (inner, hidden)
        yield block + "mlp.down_proj.weight", (hidden, inner)
    yield "model.norm.weight", (hidden,)
    if not config["tie_word_embeddings"]:
        yield "lm_head.weight", (config["vocab_size"], hidden)


def gpt2_tensors(config: dict[str, Any]) -> Shapes:
    """Names and shapes of GPT-2's tensors; its matrices are stored [in, out]."""
    hidden = config["n_embd"]
    yield "transformer.wte.weight", (config["vocab_size"], hidden)
    yield "transformer.wpe.weight", (config["n_positions"], hidden)
    for layer in range(config["n_layer"]):
        block = f"transformer.h.{layer}."
        for norm in ("ln_1", "ln_2"):
            yield from ((block + f"{norm}.{part}", (hidden,)) for part in ("weight", "bias"))
        for name, width, height in (
            ("attn.c_attn", hidden, 3 * hidden),
            ("attn.c_proj", hidden, hidden),
            ("mlp.c_fc", hidden, 4 * hidden),
            ("mlp.c_proj", 4 * hidden, hidden),
        ):
            yield block + f"{name}.weight", (width, height)
            yield block + f"{name}.bias", (height,)
    yield "transformer.ln_f.weight", (hidden,)
    yield "transformer.ln_f.bias", (hidden,)


def write_random_safetensors(file: Path, tensors: list[tuple[str, tuple[int, ...]]], seed: int) -> None:
    """Write tensors one by one: norms around 1, biases around 0, matrices scaled by their width."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in tensors:
        end = offset + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    random = np.random.default_rng(seed)
    with file.open("wb") as out:
        out.write(len(encoded).to_bytes(8, "little") + encoded)
        for name, shape in tensors:
            values = random.standard_normal(shape, np.float32)
            if len(shape) == 1:
                values = values * 0.1 + (1.0 if name.endswith("weight") else 0.0)
            else:
                values *= 1 / math.sqrt(min(shape)) if "embed" not in name and "wte" not in name else 0.05
            out.write((values.view(np.uint32) >> 16).astype("<u2").tobytes())  # the upper half: bfloat16


def write_tokenizer(folder: Path, vocabulary: int, chat: bool) -> None:
    """A byte-level BPE tokenizer of exactly `vocabulary` entries, its control tokens the last ones."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    controls = CHAT_TOKENS if chat else CHAT_TOKENS[:1]
    entries = {symbol: i for i, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = []
    for left, right in _pairs():
        if len(entries) == vocabulary - len(controls):
            break
        if left + right not in entries:
            entries[left + right] = len(entries)
            merges.append((left, right))
    core = Tokenizer(models.BPE(vocab=entries, merges=merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(name, special=True) for name in controls])
    core.save(str(folder / "tokenizer.json"))
    facts = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": controls[0],
        "eos_token": controls[-1],
        "pad_token": controls[0],
        "clean_up_tokenization_spaces": False,
    }
    if chat:
        facts["chat_template"] = CHATML
    (folder / "tokenizer_config.json").write_text(json.dumps(facts, indent=1))


def _pairs() -> Iterator[tuple[str, str]]:
    """Merges in rank order: two letters, a space (spelled Ġ) and a letter, then ever longer words."""
    letters = string.ascii_lowercase
    words = [*letters, *("Ġ" + letter for letter in letters), *string.ascii_uppercase]
    for letter in letters:
        yield "Ġ", letter
    for _ in itertools.count():
        longer = []
        for word, letter in itertools.product(words, letters):
            longer.append(word + letter)
            yield word, letter
        words = longer


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.shapes", description="Write a random-weight checkpoint."
    )
    parser.add_argument("shape", choices=sorted(SHAPES), help="whose config to take")
    parser.add_argument("out", type=Path, help="folder to write")
    got = parser.parse_args()
    write_shape(got.shape, got.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
