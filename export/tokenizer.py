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

from export.chat_template import chat_template, write_question
from export.config import read_json_object
from export.errors import ExportError, first_line
from export.generation import end_ids, generation_defaults
from export.passage import PASSAGE
from export.source import Checkpoint
from handler.engine.bundle import PACKED_FILE, TEMPLATE_FILE, TOKENIZER_FILE, Tokens
from handler.engine.template import ChatTemplate
from handler.engine.vocabulary import PackedTokenizer, pack

SENTENCEPIECE_FILE = "tokenizer.model"  # sentencepiece is not among the export's packages
VOCABULARY_FILES = (TOKENIZER_FILE, "vocab.json", "vocab.txt")  # of the others no fast tokenizer is made
LLAMA_CLASSES = ("LlamaTokenizer", "LlamaTokenizerFast")


@dataclass(frozen=True)
class Text:
    """The text side of a model, written into the bundle."""

    tokens: Tokens
    generation: Mapping[str, float]


def write_tokenizer(checkpoint: Checkpoint, folder: Path) -> Text:
    """Write the tokenizer, and the chat template where there is one, into `folder`.

    Raises: ExportError when there is no fast tokenizer, it writes ids that the model has not, a question
    cannot be asked, or the model never says where an answer ends.
    """
    tokenizer = load_tokenizer(checkpoint.text_folder)
    named = {
        name: str(value) for name, value in tokenizer.special_tokens_map.items() if isinstance(value, str)
    }
    template = chat_template(tokenizer, checkpoint.text_folder)
    asked = write_question(ChatTemplate(template, named), checkpoint.text_folder) if template else ""
    _check_ids(tokenizer, asked, checkpoint)
    tokenizer.backend_tokenizer.save(str(folder / TOKENIZER_FILE), pretty=False)
    _write_packed(folder)
    if template:
        (folder / TEMPLATE_FILE).write_text(template, encoding="utf-8")
    tokens = Tokens(
        eos=end_ids(checkpoint.folder, tokenizer.eos_token_id),
        bos=tokenizer.bos_token_id,
        pad=tokenizer.pad_token_id,
        template_tokens=named,
    )
    return Text(tokens, generation_defaults(checkpoint.folder))


def _check_ids(tokenizer: Any, asked: str, checkpoint: Checkpoint) -> None:
    """Refuse a tokenizer of another model: in a text, around one or in a question are ids beyond the last.

    Tokens that were added and are written nowhere may be beyond it: Gemma 3 has one for images.
    """
    folder, vocabulary = checkpoint.text_folder, checkpoint.config.integer("vocab_size")
    known = max(tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False).values(), default=0)
    written = tokenizer.encode("") + tokenizer.encode(asked, add_special_tokens=False)
    named = (tokenizer.bos_token_id, tokenizer.eos_token_id)
    last = max([known, *written, *(id_ for id_ in named if id_ is not None)])
    if last >= vocabulary:
        token = tokenizer.convert_ids_to_tokens(last)
        raise ExportError(
            f"{folder}: the tokenizer's {token!r} is id {last}, the model's vocab_size is {vocabulary}: "
            "they do not belong together"
        )


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

    _check_files(folder)
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


def _check_files(folder: Path) -> None:
    how = "AutoTokenizer.from_pretrained(...).save_pretrained(...)"
    if (folder / SENTENCEPIECE_FILE).is_file() and not (folder / TOKENIZER_FILE).is_file():
        advice = f"save it with its {TOKENIZER_FILE} where sentencepiece is installed"
        raise ExportError(f"{folder}: holds a {SENTENCEPIECE_FILE} only; {advice}: {how}")
    if not any((folder / name).is_file() for name in VOCABULARY_FILES):
        raise ExportError(f"{folder}: holds no {TOKENIZER_FILE}; save the model's tokenizer there: {how}")


def _load(folder: Path) -> Any:
    """What the installed transformers 4 makes of a folder, in its own words or in those of transformers 5.

    A Llama tokenizer that is told whether texts get a space in front is made again from sentencepiece's file,
    although its own file says it too, and was made so: here it is read.

    Source: https://github.com/huggingface/transformers/blob/main/MIGRATION_GUIDE_V5.md
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    told = read_json_object(folder / "tokenizer_config.json") or {}
    extra = told.get("extra_special_tokens")
    renamed: dict[str, Any] = {}
    if isinstance(extra, list):  # in 4 these are by name, and a list has another name
        renamed = {"extra_special_tokens": {}, "additional_special_tokens": extra}
    if told.get("tokenizer_class") in LLAMA_CLASSES and (folder / TOKENIZER_FILE).is_file():
        renamed["add_prefix_space"] = None
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
