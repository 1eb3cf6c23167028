"""Llama with a reader beside it, the architecture of the embedded model (`export/reader.py`)."""

from __future__ import annotations

import dataclasses

from export.config import Config
from export.errors import ExportError
from export.graph import llama
from export.graph.facts import Decoder, Family, Norm, Part, Reader, Tensors

READER = "model.reader."


def read(config: Config) -> Decoder:
    """The facts of a config."""
    for name in ("attention_bias", "mlp_bias"):
        config.only(name, (False,), False)
    main = llama.read(config)
    reader_layers = config.integer("reader_num_hidden_layers")
    if reader_layers >= main.layers:
        allowed = f"from 1 to {main.layers - 1}, fewer than num_hidden_layers"
        raise ExportError(f"{config.path}: reader_num_hidden_layers: {reader_layers}, must be {allowed}")
    main = dataclasses.replace(main, attention=main.attention[:-reader_layers])
    stack = dataclasses.replace(
        main,
        heads=main.kv_heads,
        hidden=config.integer("reader_hidden_size"),
        intermediate=config.integer("reader_intermediate_size"),
        attention=main.attention[:1] * reader_layers,
        tensors=_of_reader(main.tensors),
    )
    reader = Reader(
        stack=stack,
        table=f"{READER}embed_bigrams.weight",
        projection=f"{READER}bigram_proj.weight",
        rows=config.integer("bigram_rows"),
        pair_width=config.integer("bigram_width"),
        multiplier=config.integer("bigram_multiplier"),
    )
    return dataclasses.replace(main, reader=reader)


def _of_reader(tensors: Tensors) -> Tensors:
    return dataclasses.replace(
        tensors,
        attention=_part(tensors.attention),
        mlp=_part(tensors.mlp),
        final_norm=Norm(f"{READER}norm.weight"),
    )


def _part(part: Part) -> Part:
    """A part of the reader's layers, whose names go on where the model's have `layers`."""
    assert part.norm is not None
    return dataclasses.replace(
        part,
        norm=Norm(_name(part.norm.weight)),
        input=dataclasses.replace(part.input, weights=tuple(map(_name, part.input.weights))),
        output=dataclasses.replace(part.output, weights=tuple(map(_name, part.output.weights))),
    )


def _name(name: str) -> str:
    return name.replace("model.", READER, 1)


FAMILY = Family("reader_llama", ("ReaderLlamaForCausalLM",), read)
