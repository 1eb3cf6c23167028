"""The bundle: a folder whose `bundle.json` says all there is to know of a model, with a hash for every file.

Owns the manifest's shape, its reading and writing, and those names of files that it does not give: all that
whoever writes a bundle and whoever loads it share. Does not know ONNX, tokenizers or how a model is run.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from handler.engine import integrity, strict
from handler.engine.integrity import FileEntry
from handler.errors import BundleError

FORMAT = 1
MANIFEST = "bundle.json"
TOKENIZER_FILE = "tokenizer.json"
PACKED_FILE = "tokenizer.bin"  # the same without parsing; bundles had none at first, and not all can have it
TEMPLATE_FILE = "chat_template.jinja"
CARD_FILE = "MODEL_CARD.md"
NO_ID = 0  # what a graph is told where it asks for the id before the first of a text
UNSEALED = "0" * 64  # holds the seal's place in the bytes it is taken over


@dataclass(frozen=True)
class Source:
    """Where the model came from."""

    id: str
    revision: str  # a hub commit, or `sha256:` over a local folder's weights
    license: str
    architecture: str  # as in config.json: LlamaForCausalLM
    way: Literal["fused", "universal"]


@dataclass(frozen=True)
class Dims:
    """The sizes of the model; letters as in HOUSE: L, H, K, D, V."""

    layers: int  # L
    heads: int  # H
    kv_heads: int  # K
    head_dim: int  # D
    hidden: int
    vocabulary: int  # V
    parameters: int


@dataclass(frozen=True)
class Graph:
    """The ONNX graph's contract: which tensor plays which role. `{layer}` stands for the layer's index."""

    file: str
    cache: Literal["shared", "concat"]
    input_ids: str
    logits: str
    past_key: str
    past_value: str
    present_key: str
    present_value: str
    rows: str | None = None  # shared: which rows get logits
    seqlens: str | None = None  # shared: total length - 1
    total_length: str | None = None  # shared
    position_ids: str | None = None
    attention_mask: str | None = None  # concat
    previous_id: str | None = None  # shared: the id before the first of the call, where pairs are embedded


@dataclass(frozen=True)
class Tokens:
    """Ids with a meaning of their own."""

    eos: tuple[int, ...]  # generation stops at any of these
    bos: int | None = None
    pad: int | None = None
    template_tokens: Mapping[str, str] = field(default_factory=dict)  # by name: bos_token, ...


@dataclass(frozen=True)
class Quantization:
    """The recipe the weights were stored with."""

    recipe: Literal["int4", "int8", "fp32", "mixed"]
    bits: int
    block: int | None = None
    head_bits: int | None = None
    head_block: int | None = None
    symmetric: bool = True
    accuracy_level: int | None = None
    rounding: Literal["gptq", "nearest"] = "nearest"
    calibration: str | None = None  # gptq: the text it looked at, by name and hash
    widened: tuple[str, ...] = ()  # mixed: the graph's matrices of eight bits, the others having `bits`
    target: str | None = None  # mixed: what the choice was made to keep


@dataclass(frozen=True)
class Manifest:
    """`bundle.json`. Model facts come from here alone."""

    name: str
    created: str  # ISO 8601, UTC
    source: Source
    dims: Dims
    context_tokens: int
    graph: Graph
    tokens: Tokens
    quantization: Quantization
    generation: Mapping[str, float]  # defaults: temperature, top_p, top_k, repetition_penalty
    tools: Mapping[str, str]  # package -> version the bundle was made with
    fidelity: Mapping[str, Any]  # measured at export
    files: Mapping[str, FileEntry] = field(default_factory=dict)
    exact: bool = True  # logits do not depend on chunking, cache state or thread count
    instruction_set: str | None = None  # on which exactness and fidelity were measured; at first not recorded
    row_multiple: int = 2  # rows of one call are padded to a multiple of this
    format: int = FORMAT


def write_manifest(folder: Path, manifest: Manifest, *, part_bytes: int = integrity.PART_BYTES) -> Manifest:
    """Hash every file under `folder` into the manifest; write `bundle.json` last, sealed and atomically.

    Files larger than `part_bytes` are also hashed piece by piece, for whoever fetches them over a network.
    """
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    hashed = integrity.hash_files(folder, sorted(name for name in names if name != MANIFEST))
    files = {
        name: dataclasses.replace(entry, parts=integrity.hash_parts(folder / name, part_bytes))
        for name, entry in hashed.items()
    }
    complete = dataclasses.replace(manifest, files=files)
    temporary = folder / (MANIFEST + ".partial")
    with temporary.open("wb") as out:
        out.write(sealed(dataclasses.asdict(complete)))
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(folder / MANIFEST)
    return complete


def read_manifest(folder: Path) -> Manifest:
    """Read a folder's `bundle.json`.

    Raises: BundleError when it is absent, and as `parse_manifest`.
    """
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise BundleError(f"{path}: not found; a bundle is a folder made by `make bundle`") from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error}") from error
    return parse_manifest(content, path)


def parse_manifest(content: bytes, path: object) -> Manifest:
    """Read the content of a `bundle.json`; `path` is what messages call it.

    Raises: BundleError when it is not JSON, of another format version, altered since it was written, or lacks
    or misshapes a field.
    """
    try:
        raw = json.loads(content)
    except ValueError as error:
        raise BundleError(f"{path}: cannot be read: {error}") from error
    if not isinstance(raw, dict):
        raise BundleError(f"{path}: must hold one JSON object")
    if raw.get("format") != FORMAT:
        found = raw.get("format")
        raise BundleError(f"{path}: format {found!r} is not supported, this version reads format {FORMAT}")
    seal = str(raw.pop("seal", ""))
    if seal != _seal_of(content.replace(seal.encode(), UNSEALED.encode()) if seal else content):
        raise BundleError(f"{path}: altered since it was written: its seal does not match")
    try:
        return typing.cast(Manifest, strict.parse(Manifest, raw, "bundle"))
    except ValueError as error:
        raise BundleError(f"{path}: {error}") from None


def sealed(fields: Mapping[str, Any]) -> bytes:
    """Write the manifest's JSON with a hash over its own bytes, taken while the hash's place held zeros."""
    text = json.dumps({**fields, "seal": UNSEALED}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return text.replace(UNSEALED, _seal_of(text.encode())).encode()


def _seal_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
