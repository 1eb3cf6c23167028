"""Grammars compiled for one tokenizer; the only file that imports llguidance, at the first grammar.

Owns the vocabulary as llguidance knows it, the limits within which a grammar is compiled, and the latest few
compiled grammars, of which every answer gets a copy. Knows nothing of answers under way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

from handler.engine.bundle import Manifest
from handler.engine.constraint import Constraint
from handler.engine.control import ControlTokens
from handler.engine.grammar import Grammar
from handler.engine.token_bytes import vocabulary_bytes
from handler.errors import InvalidRequest, Unsupported

KEPT_GRAMMARS = 8
NOT_FORCED = '%llguidance { "no_forcing": true }\n'
SAMPLE = '{"name": "a b", "list": [1, 2]}'
# A fraction of what llguidance allows by itself: compiling takes milliseconds, a second at the very most.
FUEL, SYMBOLS, STATES = 200_000, 50_000, 50_000
ROW_ITEMS = 10_000  # five times its own: 2,500 optional properties, which take 30 ms a token; 5,000 take 400


class GrammarCompiler:
    """Compiles grammars for one model's tokenizer; costs nothing until it is asked to."""

    def __init__(self, manifest: Manifest, tokenizer: Any) -> None:
        self._manifest, self._tokenizer = manifest, tokenizer
        self._compiled = lru_cache(maxsize=KEPT_GRAMMARS)(self._compile)

    def check(self, grammar: Grammar) -> None:
        """Compile a grammar ahead of its answer.

        Raises: InvalidRequest with the reason; Unsupported where it asks for what would be ignored.
        """
        self._compiled(grammar)

    def constraint(self, grammar: Grammar, answer_from: int) -> Constraint:
        """Start to follow a grammar from that index of the history on. Raises: as `check`."""
        matcher = self._compiled(grammar).deep_copy()
        vocabulary, forget = self._manifest.dims.vocabulary, self._compiled.cache_clear
        # Copies share a lexer: one that has met its limit meets it at once in every answer to come.
        return Constraint(matcher, answer_from, vocabulary, on_limit=forget)

    @cached_property
    def _spelling(self) -> _Spelling:
        return _Spelling(self._manifest, self._tokenizer)

    @cached_property
    def _vocabulary(self) -> Any:
        from llguidance import LLTokenizer

        eos = sorted(self._manifest.tokens.eos)
        spelling: Any = self._spelling  # it has what is asked for, without the class that gathers it
        return LLTokenizer(spelling, eos_token=eos, slices=LLTokenizer.json_slices())

    def _compile(self, grammar: Grammar) -> Any:
        from llguidance import LLMatcher, LLParserLimits

        text = grammar.text if self._spelling.is_exact else NOT_FORCED + grammar.text
        limits = LLParserLimits(
            initial_lexer_fuel=FUEL,
            max_grammar_size=SYMBOLS,
            max_lexer_states=STATES,
            max_items_in_row=ROW_ITEMS,
            verbose_errors=False,
        )
        matcher = LLMatcher(self._vocabulary, text, log_level=0, limits=limits)
        if matcher.is_error():
            raise InvalidRequest(f"The grammar cannot be used: {_reason(matcher.get_error())}.")
        warnings = matcher.get_grammar_warnings()
        if warnings:
            raise Unsupported(f"The grammar cannot be used: {_reason(warnings[0])}.")
        self._try(matcher.deep_copy())
        return matcher

    def _try(self, matcher: Any) -> None:
        """Take the first step of an answer: much of what compiles and cannot be followed shows there.

        Raises: InvalidRequest.
        """
        forced, room = matcher.compute_ff_tokens(), self._manifest.context_tokens
        if len(forced) > room:
            raise InvalidRequest(
                f"The grammar cannot be used: it leaves no choice about the first {len(forced)} tokens, and "
                f"the model's context is {room} tokens."
            )
        matcher.consume_tokens(forced)
        matcher.compute_bitmask()
        if matcher.is_error():
            is_empty = "NoExtension" in matcher.get_error()
            reason = "no answer follows it" if is_empty else "it is too complex to be followed"
            raise InvalidRequest(f"The grammar cannot be used: {reason}.")


class _Spelling:
    """The tokens and their bytes as llguidance asks for them.

    Control tokens are marked as no text, so that no text of a grammar makes one; it has to name them.
    """

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, manifest: Manifest, tokenizer: Any) -> None:
        self._tokenizer, self._control = tokenizer, ControlTokens(tokenizer)
        self.tokens = vocabulary_bytes(tokenizer, manifest.dims.vocabulary)
        self._letters = {text: id_ for id_, text in enumerate(self.tokens) if len(text) == 1}
        self.eos_token_id = min(manifest.tokens.eos)
        self.special_token_ids = sorted({*self._control.ids.values(), *manifest.tokens.eos})
        # Where the model's own ids for a text spell it exactly, what a grammar forces is forced as those ids.
        # Elsewhere (sentencepiece puts a space before a text) the model chooses the ids.
        self.is_exact = len(self._letters) == 256 and self._spelled(self._encode(SAMPLE)) == SAMPLE.encode()

    def __call__(self, text: str) -> list[int]:
        """The model's own ids for a text; control strings in it are text."""
        ids = self._encode(text)
        if self._spelled(ids) == text.encode():
            return ids
        return [self._letters[bytes([value])] for value in text.encode()]  # a normalizer changed the text

    def _encode(self, text: str) -> list[int]:
        if self._control.suspicious(text):
            return self._control.encode_marked(self._control.mark(text))
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _spelled(self, ids: Sequence[int]) -> bytes:
        return b"".join(self.tokens[id_] for id_ in ids)


def _reason(message: str) -> str:
    """What llguidance says is wrong, without the place in a text that the client never wrote."""
    reason = re.split(r"\n +\d+ \| |\n<", message)[0]
    reason = re.sub(r"^at \d+\(\d+\): (failed to compile JSON schema: )?", "", reason)
    return " ".join(reason.split()).rstrip(".")[:300]
