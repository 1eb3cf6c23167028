"""Which strings are control tokens, and how text from outside is kept from ever becoming one.

Owns two ideas. *Marking*: characters of a suspicious string are swapped for lone surrogates before the
template is rendered; valid text holds none, so afterwards each is known to be the template's or the user's.
*Renaming*: a second tokenizer knows the control tokens by other names; the template's own are renamed in the
text, the user's are not and stay text.
Knows nothing of messages or templates.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

FIRST_MARK, MARKS = 0xD800, 2048  # the lone surrogates
QUOTES = frozenset("\"'\\")  # never marked: JSON in a template escapes them
RENAME = "\U0010fffe"  # a noncharacter, which text should not hold; where it does, it is replaced
REPLACEMENT = "\ufffd"


class ControlTokens:
    """The control tokens of one tokenizer; added tokens of mere white space are text, not control."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder()
        self.ids = {token.content: id_ for id_, token in added.items() if token.content.strip()}
        self._all = _Strings(self.ids)
        special = {token.content for token in added.values() if token.special} & self.ids.keys()
        # Those that decoding does not leave out.
        self.shown = {content: id_ for content, id_ in self.ids.items() if content not in special}
        self._special = _Strings(special)
        letters = sorted({c for content in self.ids for c in content if not c.isspace()} - QUOTES)[:MARKS]
        self._mark = {ord(c): FIRST_MARK + at for at, c in enumerate(letters)}
        self._unmark = {mark: letter for letter, mark in self._mark.items()}
        self._folds = any(t.normalized for t in added.values()) and tokenizer.normalizer is not None
        self._renamed: _Renamed | None = None

    def suspicious(self, text: str, *, special_only: bool = False) -> bool:
        """Tell whether `text` holds a control string, or could make one with what stands beside it."""
        strings = self._special if special_only else self._all
        forms = {text, text.strip()}  # templates strip
        if self._folds:
            forms |= {self._tokenizer.normalizer.normalize_str(form) for form in forms}
        return any(map(strings.touched_by, forms))

    def mark(self, text: str) -> str:
        """Swap every character that a control token could need for its mark."""
        return text.translate(self._mark)

    def unmark(self, text: str) -> str:
        """Undo `mark`."""
        return text.translate(self._unmark)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where control strings stand in `text`; the longest wins, as in tokenizers."""
        return [match.span() for match in self._all.pattern.finditer(text)]

    def encode_marked(self, text: str) -> list[int]:
        """Encode text whose marked characters are the user's: only the template's control strings count."""
        if self._renamed is None:
            self._renamed = _Renamed(self._tokenizer, self.ids)
        renamed = self._renamed
        parts, at = [], 0
        for start, end in self.spans(text):
            parts.append(self.unmark(text[at:start]).replace(RENAME, REPLACEMENT))
            parts.append(renamed.names[text[start:end]])
            at = end
        parts.append(self.unmark(text[at:]).replace(RENAME, REPLACEMENT))
        return renamed.encode("".join(parts))


class _Renamed:
    """The same tokenizer, in which control tokens go by names that no text holds."""

    def __init__(self, tokenizer: Any, control: dict[str, int]) -> None:
        self.names = {content: f"{RENAME}{at}{RENAME}" for at, content in enumerate(control)}
        spec = json.loads(tokenizer.to_str())
        for token in spec["added_tokens"]:
            if token["content"] in self.names:
                token["content"], token["normalized"] = self.names[token["content"]], False
        spec["post_processor"] = None  # it may name tokens that are renamed, and frames are not asked for
        self._tokenizer = type(tokenizer).from_str(json.dumps(spec))
        # A name is not in the model's vocabulary, so its id may differ from that of the token it stands for.
        known = tokenizer.get_added_tokens_decoder()
        contents = {self.names.get(token.content, token.content): id_ for id_, token in known.items()}
        self._original = {self._tokenizer.token_to_id(name): id_ for name, id_ in contents.items()}
        # Ids that a vocabulary reaches by plain text as well, as a unigram model's `</s>`; not the one for
        # unknown characters, which says nothing.
        unknown = spec["model"].get("unk_id", tokenizer.token_to_id(spec["model"].get("unk_token") or ""))
        self._forbidden = set(control.values()) - set(self._original) - {unknown}

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        for id_, token in zip(encoding.ids, encoding.tokens, strict=True):
            if id_ in self._forbidden:
                ids += self._spell(token)
            else:
                ids.append(self._original.get(id_, id_))
        return ids

    def _spell(self, token: str) -> list[int]:
        """Encode a control string character by character."""
        pieces = (self._tokenizer.encode(c, add_special_tokens=False).ids for c in token)
        return [id_ for piece in pieces for id_ in piece if id_ not in self._forbidden]


class _Strings:
    """A set of control strings, made ready for questions about text."""

    def __init__(self, contents: Iterable[str]) -> None:
        by_length = sorted(contents, key=len, reverse=True)
        self.pattern = re.compile("|".join(map(re.escape, by_length)) if by_length else r"(?!)")
        self._longest = len(by_length[0]) if by_length else 0
        self._heads = {content[:size] for content in by_length for size in range(1, len(content))}
        self._tails = {content[size:] for content in by_length for size in range(1, len(content))}
        self._contents = by_length

    def touched_by(self, text: str) -> bool:
        """Tell whether `text` holds one of the strings, or part of one at either end, or lies inside one."""
        if not text:
            return False
        if self.pattern.search(text):
            return True
        sizes = range(1, min(len(text) + 1, self._longest))
        if any(text[-size:] in self._heads or text[:size] in self._tails for size in sizes):
            return True
        return len(text) < self._longest and any(text in content for content in self._contents)
