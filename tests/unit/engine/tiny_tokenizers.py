"""Small tokenizers of the kinds that models come with, trained in a moment."""

from __future__ import annotations

from functools import cache
from typing import Any

CORPUS = (
    "Hello, how are you? I am fine, thank you. What is your name? My name is Dormouse.\n",
    "The quick brown fox jumps over the lazy dog.  user assistant system  \n\n",
    "你好，你叫什么名字？我叫睡鼠。今天天气很好。",
    "def add(a, b): return a + b  # 1 + 2 = 3",
)
CONTROL = ("<|im_end|>", "<|im_start|>", "<|pad|>", "</s>", "<s>", "[INST]", "[/INST]")
NOT_SPECIAL = ("<think>", "</think>", "<tool_call>")


@cache
def byte_level(normalize: bool = False) -> Any:
    """As GPT-2, Llama 3, Qwen: byte-level BPE; Qwen normalizes to NFC."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    if normalize:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return _with_control(tokenizer)


@cache
def sentencepiece_bpe() -> Any:
    """As Llama 2 and Mistral: BPE over `▁`, bytes for what is not in the vocabulary."""
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers

    draft = Tokenizer(models.BPE())
    draft.normalizer = normalizers.Replace(" ", "▁")
    draft.train_from_iterator(CORPUS[:2], trainers.BpeTrainer(vocab_size=300, show_progress=False))
    byte_tokens = [f"<0x{value:02X}>" for value in range(256)]
    learned = [token for token, _ in sorted(draft.get_vocab().items(), key=lambda item: item[1])]
    vocabulary = {token: at for at, token in enumerate(["<unk>", "<s>", "</s>", *byte_tokens, *learned])}
    import json

    merges = [tuple(merge) for merge in json.loads(draft.to_str())["model"]["merges"]]
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _with_control(tokenizer)


@cache
def unigram() -> Any:
    """As T5's kind: unigram over a Metaspace, with `</s>` a piece of the vocabulary itself."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    trainer = trainers.UnigramTrainer(
        vocab_size=200, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return _with_control(tokenizer)


ALL = {"byte_level": byte_level, "sentencepiece_bpe": sentencepiece_bpe, "unigram": unigram}


def _with_control(tokenizer: Any) -> Any:
    from tokenizers import AddedToken

    tokenizer.add_special_tokens([AddedToken(content, special=True, normalized=False) for content in CONTROL])
    tokenizer.add_tokens([AddedToken(content, special=False, normalized=False) for content in NOT_SPECIAL])
    return tokenizer
