"""A Hugging Face checkpoint as GGUF files: `python -m bench.formats.gguf_file CHECKPOINT OUT`.

Owns the metadata that llama.cpp reads (for Llama, Qwen2 and GPT-2) and the three quantizations that are
measured; the quantizing itself is llama.cpp's own. Run by the environment that holds `gguf` and `llama-
cpp-python`. Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import numpy as np
from safetensors import safe_open

# name -> (file type, every matrix in that type); otherwise llama.cpp keeps the head in more bits
QUANTIZATIONS = {
    "q4_0-pure": (llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0, True),
    "q4_0": (llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0, False),
    "q8_0": (llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0, False),
}
ARCHITECTURES = {"llama": gguf.MODEL_ARCH.LLAMA, "qwen2": gguf.MODEL_ARCH.QWEN2, "gpt2": gguf.MODEL_ARCH.GPT2}
SPLITTERS = {"llama": "smollm", "qwen2": "qwen2", "gpt2": "gpt-2"}  # llama.cpp's name for the text splitting


def convert(checkpoint: Path, out: Path) -> None:
    """Write `OUT/{name}.gguf` and `OUT/{name}.json`, its facts, for every quantization."""
    out.mkdir(parents=True, exist_ok=True)
    full = out / "f32.gguf"
    write_full(checkpoint, full)
    for name, (file_type, pure) in QUANTIZATIONS.items():
        file = out / f"{name}.gguf"
        quantize(full, file, file_type, pure)
        (out / f"{name}.json").write_text(json.dumps(facts(file), indent=1))
    full.unlink()


def write_full(checkpoint: Path, file: Path) -> None:
    """Write the checkpoint's weights as they are, widened to fp32."""
    config = json.loads((checkpoint / "config.json").read_text())
    kind = config["model_type"]
    writer = gguf.GGUFWriter(file, gguf.MODEL_ARCH_NAMES[ARCHITECTURES[kind]])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    _add_dimensions(writer, config)
    _add_tokenizer(writer, checkpoint, config)
    for name, values in _tensors(checkpoint, config):
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def quantize(full: Path, file: Path, file_type: int, pure: bool) -> None:
    """Let llama.cpp quantize."""
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.pure, params.nthread = file_type, pure, 2
    status = llama_cpp.llama_model_quantize(str(full).encode(), str(file).encode(), ctypes.byref(params))
    if status != 0:
        raise RuntimeError(f"llama.cpp could not quantize {full} to {file.name}")


def facts(file: Path) -> dict[str, Any]:
    """How the matrices in a GGUF file are stored; read from the file itself."""
    matrices = [
        t for t in gguf.GGUFReader(file).tensors if len(t.shape) == 2 and t.name != "position_embd.weight"
    ]
    body = sorted({t.tensor_type.name for t in matrices if not t.name.startswith(("token_embd", "output."))})
    head = next((t for t in matrices if t.name == "output.weight"), None)  # absent: tied to the embedding
    head = head or next(t for t in matrices if t.name == "token_embd.weight")
    return {
        "weights": f"{' + '.join(body)}, block 32",
        "head": f"{head.tensor_type.name}, block {'256' if '_K' in head.tensor_type.name else '32'}",
        "read_bytes": sum(int(t.n_bytes) for t in matrices),
        "read_parameters": sum(int(t.n_elements) for t in matrices),
        "disk_bytes": file.stat().st_size,
    }


def _add_dimensions(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    if config["model_type"] == "gpt2":
        writer.add_context_length(config["n_positions"])
        writer.add_embedding_length(config["n_embd"])
        writer.add_block_count(config["n_layer"])
        writer.add_feed_forward_length(4 * config["n_embd"])
        writer.add_head_count(config["n_head"])
        writer.add_layer_norm_eps(config["layer_norm_epsilon"])
        return
    heads = config["num_attention_heads"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config.get("rope_theta", 10000.0))
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_vocab_size(config["vocab_size"])


def _add_tokenizer(writer: gguf.GGUFWriter, checkpoint: Path, config: dict[str, Any]) -> None:
    tokenizer = json.loads((checkpoint / "tokenizer.json").read_text())
    words = {
        **tokenizer["model"]["vocab"],
        **{added["content"]: added["id"] for added in tokenizer["added_tokens"]},
    }
    special = {added["id"] for added in tokenizer["added_tokens"] if added["special"]}
    ordered = sorted(words, key=words.__getitem__)
    missing = config["vocab_size"] - len(ordered)  # matrices may be taller than the vocabulary
    writer.add_tokenizer_model("gpt2")  # byte-level BPE
    writer.add_tokenizer_pre(SPLITTERS[config["model_type"]])
    writer.add_token_list(ordered + [f"[PAD{at}]" for at in range(missing)])
    types = [gguf.TokenType.CONTROL if words[word] in special else gguf.TokenType.NORMAL for word in ordered]
    writer.add_token_types([*types, *[gguf.TokenType.UNUSED] * missing])
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(False)


def _tensors(
    checkpoint: Path, config: dict[str, Any]
) -> Iterator[tuple[str, np.ndarray[Any, np.dtype[np.float32]]]]:
    """The tensors under llama.cpp's names and in its layout."""
    gpt2 = config["model_type"] == "gpt2"
    layers = config["n_layer"] if gpt2 else config["num_hidden_layers"]
    names = gguf.get_tensor_name_map(ARCHITECTURES[config["model_type"]], layers)
    with safe_open(checkpoint / "model.safetensors", "np") as file:
        for source in sorted(file.keys()):
            values = _widened(checkpoint / "model.safetensors", file, source)
            if gpt2 and values.ndim == 2 and ".h." in source:  # GPT-2's Conv1D stores [in, out]
                values = np.ascontiguousarray(values.T)
            if config["model_type"] == "llama" and "self_attn" in source:
                values = _interleaved(values, source, config)
            name = names.get_name(source, try_suffixes=(".weight", ".bias"))
            if name is None:
                raise RuntimeError(f"{source}: llama.cpp has no name for this tensor")
            yield name, values


def _widened(path: Path, file: Any, name: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Read a tensor as fp32; numpy knows no bfloat16, which is the upper half of an fp32."""
    if file.get_slice(name).get_dtype() != "BF16":
        return np.asarray(file.get_tensor(name), np.float32)
    with path.open("rb") as raw:
        size = int.from_bytes(raw.read(8), "little")
        entry = json.loads(raw.read(size))[name]
    begin, end = entry["data_offsets"]
    halves = np.fromfile(path, "<u2", (end - begin) // 2, offset=8 + size + begin)
    return (halves.astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])


def _interleaved(values: Any, name: str, config: dict[str, Any]) -> Any:
    """Reorder rows of queries and keys: llama.cpp rotates neighbours, Hugging Face rotates halves."""
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    count = next((count for part, count in heads.items() if part in name), None)
    if count is None:
        return values
    halves = values.reshape(count, 2, values.shape[0] // count // 2, *values.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(values.shape))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.formats.gguf_file", description="Write a checkpoint as GGUF files."
    )
    parser.add_argument("checkpoint", type=Path, help="folder of the checkpoint")
    parser.add_argument("out", type=Path, help="folder to write")
    got = parser.parse_args()
    convert(got.checkpoint, got.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
