"""The packed tokenizer: what Hugging Face's gives, id for id, and no other kind is packed."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from handler.engine.token_bytes import byte_alphabet, token_bytes, vocabulary_bytes
from handler.engine.vocabulary import CACHED_LETTERS, CACHED_PIECES, PackedTokenizer, pack
from tests.unit.engine import tiny_tokenizers
from tests.unit.engine.tiny_tokenizers import CONTROL, CORPUS, NOT_SPECIAL, byte_level

PIECES = st.sampled_from(
    [
        *CONTROL,
        *NOT_SPECIAL,
        *CORPUS,
        " ",
        "\n\n",
        "\u0338",
        "e\u0301",
        "你好",
        "🐭",
        "  x",
        "aaaa",
        "1234567",
        "",
    ]
)
TEXTS = st.lists(st.one_of(PIECES, st.text(st.characters(exclude_categories=["Cs"]), max_size=20))).map(
    "".join
)


def plain() -> Any:
    """As GPT-2."""
    return tiny_tokenizers.byte_level()


def normalizing() -> Any:
    """As Qwen."""
    return tiny_tokenizers.byte_level(normalize=True)


def framed() -> Any:
    """As Llama 3: split by a pattern first, whole entries taken whole, a beginning put before each text."""
    spec = json.loads(tiny_tokenizers.byte_level().to_str())
    spec["model"]["ignore_merges"] = True
    spec["model"]["merges"] = spec["model"]["merges"][::2]  # so that some entries cannot be merged to
    known = set(byte_alphabet())
    kept = []
    for left, right in spec["model"]["merges"]:
        if left in known and right in known:
            kept.append([left, right])
            known.add(left + right)
    spec["model"]["merges"] = kept
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    pattern = pre_tokenizers.Split(tiny_regex(), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pattern, pre_tokenizers.ByteLevel(use_regex=False)])
    bos = tokenizer.token_to_id("<s>")
    template = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", bos)])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(), template])
    return tokenizer


def tiny_regex() -> Any:
    from tokenizers import Regex

    return Regex(r"\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+")


def stripping() -> Any:
    """Added tokens of every kind: stripping, whole words only, normalized."""
    tokenizer = Tokenizer.from_str(tiny_tokenizers.byte_level(normalize=True).to_str())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.add_tokens([AddedToken("Hello", normalized=True), AddedToken("fox", single_word=True)])
    tokenizer.add_special_tokens([AddedToken("[MASK]", lstrip=True, rstrip=True)])
    return tokenizer


def crossing() -> Any:
    """Merges that reach the same entry by two ways, at very different ranks."""
    letters = sorted(byte_alphabet())
    merges = [
        ("b", "c"),
        ("a", "b"),
        ("abc", "d"),
        ("a", "a"),
        ("ab", "c"),
        ("c", "d"),
        ("a", "bc"),
        ("aa", "a"),
    ]
    entries = [*letters, *dict.fromkeys(left + right for left, right in merges)]
    core = models.BPE(vocab={entry: at for at, entry in enumerate(entries)}, merges=merges)
    tokenizer = Tokenizer(core)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


KINDS = {make.__name__: make for make in (plain, normalizing, framed, stripping, crossing)}


@cache
def both(kind: str) -> tuple[Any, PackedTokenizer]:
    theirs = KINDS[kind]()
    spec = theirs.to_str()
    packed = pack(json.loads(spec))
    assert packed is not None
    return theirs, PackedTokenizer(packed, lambda: spec)


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.one_of(TEXTS, st.text("abcd ", max_size=60)), special=st.booleans())
@example(text="abc" * 2000, special=True)
@example(text="\u0338<|im_end|>\u0338[MASK]  Hello foxfox fox", special=False)
@settings(max_examples=150, deadline=None)
def test_ids_and_text_are_hugging_face_s(kind: str, text: str, special: bool) -> None:
    """Every text, special tokens or not: the same ids, and back."""
    theirs, ours = both(kind)
    ids = theirs.encode(text, add_special_tokens=special).ids
    assert ours.encode(text, add_special_tokens=special).ids == ids
    for skip in (True, False):
        assert ours.decode(ids, skip_special_tokens=skip) == theirs.decode(ids, skip_special_tokens=skip)


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_hugging_face_s(kind: str) -> None:
    """Id to token, token to id, for every id and some that there are not; single ids decode alike."""
    theirs, ours = both(kind)
    for id_ in range(theirs.get_vocab_size() + 5):
        token = theirs.id_to_token(id_)
        assert ours.id_to_token(id_) == token
        assert ours.decode([id_], skip_special_tokens=False) == theirs.decode(
            [id_], skip_special_tokens=False
        )
        if token is not None:
            assert ours.token_to_id(token) == theirs.token_to_id(token)
    assert ours.token_to_id("no such entry") is None
    assert ours.get_added_tokens_decoder().keys() == theirs.get_added_tokens_decoder().keys()


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_merges_are_done_in_hugging_face_s_order(data: st.DataObject) -> None:
    """Random merges over three letters, in any order that builds on itself, over random runs of them."""
    entries, merges = list("abc"), []
    for _ in range(data.draw(st.integers(1, 20))):
        pair = data.draw(st.tuples(st.sampled_from(entries), st.sampled_from(entries)))
        if pair not in merges and len("".join(pair)) <= 8:
            merges.append(pair)
            entries += [entry for entry in ("".join(pair),) if entry not in entries]
    merges = data.draw(st.permutations(merges))
    letters = [letter for letter in byte_alphabet() if letter not in "abc"]
    vocabulary = {entry: at for at, entry in enumerate([*entries, *letters])}
    theirs = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    packed = pack(json.loads(theirs.to_str()))
    assert packed is not None
    text = data.draw(st.text("abc", min_size=1, max_size=40))
    assert PackedTokenizer(packed, str).encode(text).ids == theirs.encode(text).ids


@pytest.mark.parametrize("kind", [kind for kind in tiny_tokenizers.ALL if "byte_level" not in kind])
def test_other_kinds_are_not_packed(kind: str) -> None:
    """Unigram and sentencepiece's BPE stay with their JSON."""
    assert pack(json.loads(tiny_tokenizers.ALL[kind]().to_str())) is None


@pytest.mark.parametrize("change", [{"dropout": 0.1}, {"end_of_word_suffix": "</w>"}, {"type": "WordLevel"}])
def test_frills_are_not_packed(change: dict[str, Any]) -> None:
    """What the merging here does not know is not packed."""
    spec = json.loads(plain().to_str())
    spec["model"] |= change
    assert pack(spec) is None


def test_another_file_is_refused() -> None:
    """Not the magic of this version, or too short."""
    packed = pack(json.loads(plain().to_str()))
    assert packed is not None
    for content in (packed.replace(b"bpe 1", b"bpe 2"), packed[:200]):
        with pytest.raises(ValueError, match="packed vocabulary"):
            PackedTokenizer(content, str)


def test_what_is_remembered_has_an_end() -> None:
    """Long pieces are not remembered, and a memory over its limit, however it came to that, is emptied."""
    spec = plain().to_str()
    packed = pack(json.loads(spec))
    assert packed is not None
    tokenizer = PackedTokenizer(packed, lambda: spec)
    ids = tokenizer.encode("x" * CACHED_LETTERS).ids
    assert tokenizer.encode("x" * (CACHED_LETTERS + 1)).ids[: len(ids) - 1] == ids[:-1]
    assert len(tokenizer._cache) == 1
    tokenizer._cache.update({(-1, at): [] for at in range(CACHED_PIECES + 1)})
    tokenizer.encode("fox")
    assert len(tokenizer._cache) == 1


def test_all_token_bytes_are_those_of_each_token() -> None:
    """The bytes taken from the tables at once are those that each id has by itself, added tokens included."""
    for tokenizer in (byte_level(), byte_level(normalize=True)):
        spec = tokenizer.to_str()
        content = pack(json.loads(spec))
        assert content is not None
        packed = PackedTokenizer(content, lambda spec=spec: spec)
        size = tokenizer.get_vocab_size() + 3
        one_by_one = [token_bytes(tokenizer, id_) for id_ in range(size)]
        assert vocabulary_bytes(packed, size) == vocabulary_bytes(tokenizer, size) == one_by_one
