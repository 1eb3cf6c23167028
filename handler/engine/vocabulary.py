"""A byte-level BPE tokenizer over tables that need no parsing: 150,000 entries are ready at once.

Owns `tokenizer.bin`: its layout, written at export and read in place, and the merging of letters. All else is
done by the *frame*, a tokenizer of Hugging Face's own that has the letters of the 256 bytes for a vocabulary
and no merges: added tokens, normalization, splitting, post-processing, decoding.
Knows neither files nor hashes, and no vocabulary of another kind: `pack` gives None for those.
"""

from __future__ import annotations

import json
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import accumulate, pairwise
from typing import Any

from handler.engine.token_bytes import byte_alphabet

MAGIC = b"dormouse bpe 1\0\0"
# Little-endian: the magic, then how many merges, ids, entries, and bytes of text there are, and whether a
# piece that is an entry is taken whole (`ignore_merges`). Behind it, each from a multiple of 8 on:
HEADER = struct.Struct("<16s5Q")
# u64 pairs (left id << 32 | right id), ascending; u64 their merges (rank << 32 | new id); u32 where each id's
# text starts, and the end; u32 ids in the order of their texts; the texts; the frame as JSON.
LOW = (1 << 32) - 1
CACHED_PIECES = 10_000
CACHED_LETTERS = 256  # of a piece: a longer one is no word that comes again, and takes memory


def pack(spec: Mapping[str, Any]) -> bytes | None:
    """Write the tables of a parsed `tokenizer.json`; None where it is no byte-level BPE without frills."""
    model = spec["model"]
    if not _is_packable(spec):
        return None
    vocabulary: dict[str, int] = model["vocab"]
    pairs = (tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in model["merges"])
    merges = {
        vocabulary[left] << 32 | vocabulary[right]: rank << 32 | vocabulary[left + right]
        for rank, (left, right) in enumerate(pairs)
    }
    texts = [b""] * (max(vocabulary.values()) + 1)
    for text, id_ in vocabulary.items():
        texts[id_] = text.encode()
    order = [id_ for _, id_ in sorted((text.encode(), id_) for text, id_ in vocabulary.items())]
    starts = [0, *accumulate(map(len, texts))]
    keys = sorted(merges)
    whole = bool(model.get("ignore_merges"))
    parts = [
        HEADER.pack(MAGIC, len(keys), len(texts), len(order), starts[-1], whole),
        struct.pack(f"<{len(keys)}Q", *keys),
        struct.pack(f"<{len(keys)}Q", *(merges[key] for key in keys)),
        struct.pack(f"<{len(starts)}I", *starts),
        struct.pack(f"<{len(order)}I", *order),
        b"".join(texts),
        json.dumps(_frame(spec)).encode(),
    ]
    return b"".join(part + bytes(-len(part) % 8) for part in parts[:-1]) + parts[-1]


@dataclass(frozen=True, slots=True)
class Encoded:
    """What `encode` gives."""

    ids: list[int]


class PackedTokenizer:
    """What the engine asks of a tokenizer, with Hugging Face's names and results.

    Raises: ValueError when `content` is not what `pack` gives.
    """

    def __init__(self, content: bytes, whole: Callable[[], str]) -> None:
        """`whole` reads `tokenizer.json`, for whoever wants to make another tokenizer of it."""
        from tokenizers import Tokenizer

        magic, merges, ids, entries, text_bytes, self._ignore_merges = HEADER.unpack_from(content)
        if magic != MAGIC:
            raise ValueError("not a packed vocabulary of this version")
        sections = _sections(content, (8 * merges, 8 * merges, 4 * ids + 4, 4 * entries, text_bytes))
        self._pairs, self._merges = (next(sections).cast("Q") for _ in range(2))
        self._starts, self._order = (next(sections).cast("I") for _ in range(2))
        self._text, frame = next(sections), next(sections)
        self._frame: Any = Tokenizer.from_buffer(bytes(frame))
        added = self.get_added_tokens_decoder()
        self._added: dict[int, str] = {id_: token.content for id_, token in added.items()}
        self._special = {token.content for token in added.values() if token.special}
        self._ids = {content: id_ for id_, content in self._added.items()}
        self._whole = whole
        self._cache: dict[tuple[int, ...], list[int]] = {}

    def encode(self, text: str, *, add_special_tokens: bool = True) -> Encoded:
        """Encode a text."""
        framed = self._frame.encode(text, add_special_tokens=add_special_tokens)
        ids: list[int] = []
        for piece in _pieces(framed.ids, framed.word_ids):
            if piece[0] in self._added or len(piece) == 1:
                ids += piece
                continue
            known = self._cache.get(piece)
            if known is None:
                known = self._merged(piece)
                self._remember(piece, known)
            ids += known
        return Encoded(ids)

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Decode ids; unknown ones have no text."""
        tokens = [token for token in map(self.id_to_token, ids) if token is not None]
        if skip_special_tokens:
            tokens = [token for token in tokens if token not in self._special]
        decoder = self._frame.decoder
        return " ".join(tokens) if decoder is None else str(decoder.decode(tokens))

    def id_to_token(self, id_: int) -> str | None:
        """Give a token as the vocabulary writes it."""
        added = self._added.get(id_)
        if added is not None:
            return added
        text = self._bytes(id_) if 0 <= id_ < len(self._starts) - 1 else b""
        return text.decode() if text else None

    def all_token_bytes(self) -> list[bytes]:
        """Give the bytes that each id stands for; an id without a token has none."""
        import numpy as np  # here, since a start needs this module before it needs numpy

        table = np.full(512, 256, np.uint16)  # letter -> byte; 256 where a character is no letter
        for letter, value in byte_alphabet().items():
            table[ord(letter)] = value
        points = np.frombuffer(bytes(self._text).decode().encode("utf-32-le"), np.uint32)
        values = table[np.minimum(points, 511)]
        units = np.frombuffer(self._text, np.uint8)
        characters = np.concatenate([[0], np.cumsum((units & 0xC0) != 0x80)])  # before each byte of the text
        starts = characters[np.frombuffer(self._starts, np.uint32)].tolist()
        spelled = values.astype(np.uint8).tobytes()
        found = [spelled[start:end] for start, end in pairwise(starts)]
        for at in np.flatnonzero(values == 256).tolist():  # such a token stands for itself
            id_ = bisect_right(starts, at) - 1
            found[id_] = self._bytes(id_)
        for id_, content in self._added.items():
            found += [b""] * (id_ + 1 - len(found))
            found[id_] = content.encode()
        return found

    def token_to_id(self, token: str) -> int | None:
        """Find a token by the way the vocabulary writes it."""
        added = self._ids.get(token)
        if added is not None:
            return added
        text = token.encode()
        order: Sequence[int] = self._order
        at = bisect_left(order, text, key=self._bytes)
        return order[at] if at < len(order) and self._bytes(order[at]) == text else None

    def get_added_tokens_decoder(self) -> dict[int, Any]:
        """Give the added tokens by id."""
        found: dict[int, Any] = self._frame.get_added_tokens_decoder()
        return found

    @property
    def normalizer(self) -> Any:
        """What is done to a text before it is split, or None."""
        return self._frame.normalizer

    def to_str(self) -> str:
        """Give the whole `tokenizer.json`."""
        return self._whole()

    @staticmethod
    def from_str(spec: str) -> Any:
        """Make an ordinary tokenizer of a `tokenizer.json`."""
        from tokenizers import Tokenizer

        return Tokenizer.from_str(spec)

    def _bytes(self, id_: int) -> bytes:
        return bytes(self._text[self._starts[id_] : self._starts[id_ + 1]])

    def _merged(self, piece: tuple[int, ...]) -> list[int]:
        if self._ignore_merges:
            whole = self.token_to_id(b"".join(map(self._bytes, piece)).decode())
            if whole is not None:
                return [whole]
        return merge(piece, self._merge_of)

    def _remember(self, piece: tuple[int, ...], ids: list[int]) -> None:
        if len(piece) > CACHED_LETTERS:
            return
        if len(self._cache) >= CACHED_PIECES:  # several threads may have filled it at once
            self._cache.clear()
        self._cache[piece] = ids

    def _merge_of(self, left: int, right: int) -> int | None:
        pair = left << 32 | right
        at = bisect_left(self._pairs, pair)
        return self._merges[at] if at < len(self._pairs) and self._pairs[at] == pair else None


def merge(piece: Sequence[int], merge_of: Callable[[int, int], int | None]) -> list[int]:
    """Merge neighbours while there is a merge (rank << 32 | new id), lowest rank first, leftmost of equals.

    Source: `Word::merge_all` of tokenizers 0.22, src/models/bpe/word.rs. As there, a merge that was queued
    for a pair since changed is still done in its turn if the new pair becomes the same id.
    """
    ids: list[int | None] = list(piece)
    end = len(ids)
    before, after = list(range(-1, end - 1)), list(range(1, end + 1))
    found = ((merge_of(piece[at], piece[at + 1]), at) for at in range(end - 1))
    queue = [merged << 32 | at for merged, at in found if merged is not None]
    heapify(queue)
    while queue:
        entry = heappop(queue)
        at, new = entry & LOW, entry >> 32 & LOW
        left, right = ids[at], after[at]
        if left is None or right == end:
            continue
        right_id = ids[right]
        assert right_id is not None  # `after` skips what is gone
        merged = merge_of(left, right_id)
        if merged is None or merged & LOW != new:
            continue
        ids[at], ids[right] = new, None
        after[at] = after[right]
        if after[at] < end:
            before[after[at]] = at
        for first, second in ((before[at], at), (at, after[at])):
            if first >= 0 and second < end:
                merged = merge_of(ids[first], ids[second])  # type: ignore[arg-type]
                if merged is not None:
                    heappush(queue, merged << 32 | first)
    return [id_ for id_ in ids if id_ is not None]


def _is_packable(spec: Mapping[str, Any]) -> bool:
    """Tell whether every piece that reaches the model is a run of letters, and nothing but merges happens."""
    model, letters = spec["model"], byte_alphabet()
    splitter = spec.get("pre_tokenizer") or {}
    last = (splitter.get("pretokenizers") or [splitter])[-1]
    frills = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
    vocabulary = model.get("vocab")
    return (
        model.get("type") == "BPE"
        and not any(model.get(name) for name in frills)
        and last.get("type") == "ByteLevel"
        and letters.keys() <= vocabulary.keys()
        and len(set(vocabulary.values())) == len(vocabulary)
        and not any(token["content"] in letters for token in spec["added_tokens"])
    )


def _frame(spec: Mapping[str, Any]) -> dict[str, Any]:
    vocabulary = {letter: spec["model"]["vocab"][letter] for letter in byte_alphabet()}
    vocabulary |= {token["content"]: token["id"] for token in spec["added_tokens"]}  # so that ids stay
    model = {**spec["model"], "vocab": vocabulary, "merges": [], "ignore_merges": False}
    return {**spec, "model": model, "truncation": None, "padding": None}


def _sections(content: bytes, sizes: Sequence[int]) -> Iterator[memoryview]:
    """Give the parts behind the header, and the rest."""
    view, at = memoryview(content), HEADER.size
    for size in sizes:
        if at + size > len(content):
            raise ValueError("a packed vocabulary that ends too early")
        yield view[at : at + size]
        at += size + -size % 8
    yield view[at:]


def _pieces(ids: Sequence[int], words: Sequence[int | None]) -> Iterator[tuple[int, ...]]:
    """Group letters by the piece they are of; what belongs to none stands alone."""
    start = 0
    for at in range(1, len(ids) + 1):
        if at == len(ids) or words[at] is None or words[at] != words[start]:
            yield tuple(ids[start:at])
            start = at
