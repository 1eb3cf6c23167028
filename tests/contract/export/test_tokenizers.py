"""A checkpoint's tokenizer is read whoever saved it, or refused in words that help, before any work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers

from export.errors import ExportError
from export.tokenizer import load_tokenizer
from tests.checkpoints import write_tokenizer


def write_llama_tokenizer(folder: Path, **told: object) -> Path:
    """A BPE that falls back to bytes and puts a space in front, as made from sentencepiece's file."""
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁helo", "he"]
    core = Tokenizer(
        models.BPE(
            {word: at for at, word in enumerate(words)},
            [("h", "e")],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    core.add_special_tokens(["<unk>", "<s>", "</s>"])
    core.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"legacy": False, **told}))
    return folder


@pytest.mark.parametrize("kind", ["LlamaTokenizer", "LlamaTokenizerFast"])
@pytest.mark.parametrize("told", [{}, {"add_prefix_space": True}, {"add_prefix_space": False}])
def test_a_llama_tokenizer_needs_no_sentencepiece(kind: str, told: dict[str, bool], tmp_path: Path) -> None:
    """Whether a space goes in front is in its file, as when its config said so nowhere."""
    tokenizer = load_tokenizer(write_llama_tokenizer(tmp_path, tokenizer_class=kind, **told))
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode("hello")) == ["<s>", "▁", "he", "l", "l", "o"]


def test_a_space_in_front_stays_a_byte_level_tokenizers_setting(tmp_path: Path) -> None:
    """There the config changes what the file says, and transformers needs nothing else for it."""
    write_tokenizer(tmp_path)
    told = json.loads((tmp_path / "tokenizer_config.json").read_text())
    changed = {**told, "tokenizer_class": "GPT2TokenizerFast", "add_prefix_space": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(changed))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.encode("Hello") == tokenizer.encode(" Hello")


@pytest.mark.parametrize("left", [(), ("tokenizer_config.json",)])
def test_a_folder_without_a_tokenizer_is_told_how_to_get_one(left: tuple[str, ...], tmp_path: Path) -> None:
    """Not by what fails inside transformers."""
    write_tokenizer(tmp_path)
    for file in tmp_path.iterdir():
        if file.name not in left:
            file.unlink()
    with pytest.raises(ExportError, match=r"holds no tokenizer\.json; save the model's .*save_pretrained"):
        load_tokenizer(tmp_path)
