"""A checkpoint's tokenizer and chat template, turned into what is read at run time without transformers.

Owns `tokenizer.json`, `tokenizer.bin`, `chat_template.jinja` and the ids with a meaning of their own.
transformers is asked, not re-implemented: what it adds on loading (added tokens, post-processors) is in the
file that is written.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.config import read_json_object
from export.errors import ExportError, first_line
from export.passage import PASSAGE
from export.source import Checkpoint
from handler.engine.bundle import PACKED_FILE, TEMPLATE_FILE, TOKENIZER_FILE, Tokens
from handler.engine.vocabulary import PackedTokenizer, pack

SENTENCEPIECE_FILE = "tokenizer.model"  # sentencepiece is not among the export's packages
GENERATION_FIELDS = ("temperature", "top_p", "top_k", "min_p", "typical_p", "repetition_penalty")


@dataclass(frozen=True)
class Text:
    """The text side of a model, written into the bundle."""

    tokens: Tokens
    generation: Mapping[str, float]


def write_tokenizer(checkpoint: Checkpoint, folder: Path) -> Text:
    """Write the tokenizer, and the chat template where there is one, into `folder`.

    Raises: ExportError when there is no fast tokenizer, or the model never says where an answer ends.
    """
    tokenizer = load_tokenizer(checkpoint.text_folder)
    tokenizer.backend_tokenizer.save(str(folder / TOKENIZER_FILE), pretty=False)
    _write_packed(folder)
    template = tokenizer.chat_template
    if isinstance(template, dict):  # several by name; the unnamed use is chat
        template = template.get("default")
    if template:
        (folder / TEMPLATE_FILE).write_text(template, encoding="utf-8")
    named = {
        name: str(value) for name, value in tokenizer.special_tokens_map.items() if isinstance(value, str)
    }
    generation = read_json_object(checkpoint.folder / "generation_config.json") or {}
    tokens = Tokens(
        eos=_eos_ids(checkpoint, generation, tokenizer.eos_token_id),
        bos=tokenizer.bos_token_id,
        pad=tokenizer.pad_token_id,
        template_tokens=named,
    )
    return Text(tokens, _generation_defaults(generation))


def _write_packed(folder: Path) -> None:
    """Write the vocabulary in the form that needs no parsing, if it has one and gives the same ids."""
    whole = (folder / TOKENIZER_FILE).read_text(encoding="utf-8")
    packed = pack(json.loads(whole))
    if packed is not None and _agrees(packed, whole):
        (folder / PACKED_FILE).write_bytes(packed)


def _agrees(packed: bytes, whole: str) -> bool:
    """Compare ids and text on a passage and on every entry of the vocabulary, one after the other."""
    from tokenizers import Tokenizer

    ours, theirs = PackedTokenizer(packed, lambda: whole), Tokenizer.from_str(whole)
    theirs.no_truncation()
    theirs.no_padding()
    entries = range(theirs.get_vocab_size())
    text = PASSAGE + "".join(theirs.decode([id_], skip_special_tokens=False) for id_ in entries)
    ids = theirs.encode(text).ids
    same_ids: bool = ours.encode(text).ids == ids
    return same_ids and ours.decode(ids) == theirs.decode(ids)


def load_tokenizer(folder: Path) -> Any:
    """transformers' fast tokenizer of a checkpoint folder.

    Raises: ExportError naming the file, or the folder where there is none, and the reason.
    """
    from transformers import logging

    if (folder / SENTENCEPIECE_FILE).is_file() and not (folder / TOKENIZER_FILE).is_file():
        advice = f"save it with its {TOKENIZER_FILE} where sentencepiece is installed"
        how = "AutoTokenizer.from_pretrained(...).save_pretrained(...)"
        raise ExportError(f"{folder}: holds a {SENTENCEPIECE_FILE} only; {advice}: {how}")
    logging.set_verbosity_error()  # its advice is for callers of transformers, not of this command
    try:
        tokenizer = _load(folder)
    except Exception as error:  # tokenizers' own share no base class but this one
        raise ExportError(f"{_unread(folder, error)}: {first_line(error)}") from None
    if tokenizer is False:  # what transformers returns for a vocabulary that sentencepiece cannot parse
        raise ExportError(f"{folder}: no tokenizer can be loaded: its vocabulary is damaged")
    if not tokenizer.is_fast:
        raise ExportError(
            f"{folder}: {type(tokenizer).__name__} has no fast form, so no {TOKENIZER_FILE} can be made"
        )
    return tokenizer


def _load(folder: Path) -> Any:
    """What the installed transformers 4 makes of a folder, in its own words or in those of transformers 5.

    Source: https://github.com/huggingface/transformers/blob/main/MIGRATION_GUIDE_V5.md
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    told = read_json_object(folder / "tokenizer_config.json") or {}
    extra = told.get("extra_special_tokens")
    renamed: dict[str, Any] = {}
    if isinstance(extra, list):  # in 4 these are by name, and a list has another name
        renamed = {"extra_special_tokens": {}, "additional_special_tokens": extra}
    if told.get("tokenizer_class") == "TokenizersBackend":
        return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True, **renamed)
    return AutoTokenizer.from_pretrained(folder, use_fast=True, local_files_only=True, **renamed)


def _unread(folder: Path, error: Exception) -> str:
    """What cannot be loaded; a bare Exception is the word of tokenizers on the one file that it reads."""
    file = folder / TOKENIZER_FILE
    if type(error) is not Exception or not file.is_file():
        return f"{folder}: no tokenizer can be loaded"
    version = importlib.metadata.version("tokenizers")
    return f"{file}: damaged, or newer than tokenizers {version} can read"


def _eos_ids(
    checkpoint: Checkpoint, generation: Mapping[str, Any], tokenizer_eos: int | None
) -> tuple[int, ...]:
    """Every id that ends an answer: the generation config's (else the config's), and the tokenizer's own."""
    declared = generation.get("eos_token_id", checkpoint.config.fields.get("eos_token_id"))
    ids = list(declared) if isinstance(declared, list) else [declared]
    found = sorted({i for i in [*ids, tokenizer_eos] if i is not None})
    vocabulary = checkpoint.config.integer("vocab_size")
    for token in found:
        if not isinstance(token, int) or not 0 <= token < vocabulary:
            raise ExportError(
                f"{checkpoint.folder}: eos_token_id: {token!r}, must be an id below {vocabulary}"
            )
    if not found:
        raise ExportError(f"{checkpoint.folder}: eos_token_id: missing, so no answer would ever end")
    return tuple(found)


def _generation_defaults(generation: Mapping[str, Any]) -> dict[str, float]:
    """The sampling defaults the model's makers give; without `do_sample` they mean greedy decoding."""
    if not generation.get("do_sample"):
        return {"temperature": 0.0}
    return {name: float(generation[name]) for name in GENERATION_FIELDS if generation.get(name) is not None}
