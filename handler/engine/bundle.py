"""The bundle: a folder whose `bundle.json` says all there is to know of a model, with a hash for every file.

Owns the manifest's shape, its reading, writing and verification: all that `export` and the handler share.
Does not know ONNX, tokenizers or how a model is run.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import types
import typing
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from handler.errors import BundleError

FORMAT = 1
MANIFEST = "bundle.json"
HASH_CHUNK_BYTES = 1 << 20


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

    recipe: Literal["int4", "int8", "fp32"]
    bits: int
    block: int | None = None
    head_bits: int | None = None
    head_block: int | None = None
    symmetric: bool = True
    accuracy_level: int | None = None


@dataclass(frozen=True)
class FileEntry:
    """What a file must be to be trusted."""

    sha256: str
    size_bytes: int


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
    row_multiple: int = 2  # rows of one call are padded to a multiple of this
    format: int = FORMAT


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Hash every file under `folder` into the manifest and write `bundle.json` last, atomically."""
    names = sorted(
        str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST
    )
    complete = dataclasses.replace(manifest, files=dict(_hash_all(folder, names)))
    temporary = folder / (MANIFEST + ".partial")
    with temporary.open("w", encoding="utf-8") as out:
        json.dump(dataclasses.asdict(complete), out, indent=1, ensure_ascii=False, allow_nan=False)
        out.write("\n")
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(folder / MANIFEST)
    return complete


def read_manifest(folder: Path) -> Manifest:
    """Read `bundle.json`.

    Raises: BundleError when it is absent, not JSON, of another format version, or lacks or misshapes a field.
    """
    path = folder / MANIFEST
    try:
        raw = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise BundleError(f"{path}: not found; a bundle is a folder made by `make bundle`") from None
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: cannot be read: {error}") from error
    if not isinstance(raw, dict):
        raise BundleError(f"{path}: must hold one JSON object")
    if raw.get("format") != FORMAT:
        raise BundleError(
            f"{path}: format {raw.get('format')!r} is not supported, this version reads format {FORMAT}"
        )
    try:
        return typing.cast(Manifest, _parse(Manifest, raw, "bundle"))
    except ValueError as error:
        raise BundleError(f"{path}: {error}") from None


def check_sizes(folder: Path, manifest: Manifest) -> None:
    """Check that every file is there and has its size: the cheap half of `verify_files`, done first.

    Raises: BundleError naming every file that is missing or truncated.
    """
    problems = filter(None, (_size_problem(folder, manifest, name) for name in sorted(manifest.files)))
    _refuse(folder, list(problems))


def read_file(folder: Path, manifest: Manifest, name: str) -> bytes:
    """Read a file whole and check the very bytes that are returned.

    Raises: BundleError naming the file when it is missing, truncated or altered.
    """
    problem = _size_problem(folder, manifest, name)
    content = b"" if problem else (folder / name).read_bytes()
    if not problem:
        problem = _hash_problem(name, hashlib.sha256(content).hexdigest(), manifest)
    _refuse(folder, [problem] if problem else [])
    return content


def verify_files(folder: Path, manifest: Manifest, names: Iterable[str] | None = None) -> None:
    """Check size and sha256 of the bundle's files (all of them, or just `names`).

    Raises: BundleError naming every file that is missing, truncated or altered.
    """
    wanted = sorted(manifest.files if names is None else names)
    problems = {name: _size_problem(folder, manifest, name) for name in wanted}
    present = [name for name, problem in problems.items() if problem is None]
    for name, found in _hash_all(folder, present):
        problems[name] = _hash_problem(name, found.sha256, manifest)
    _refuse(folder, [problem for problem in problems.values() if problem])


def hash_file(path: Path) -> FileEntry:
    """Sha256 and size of one file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(HASH_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return FileEntry(digest.hexdigest(), size)


def _size_problem(folder: Path, manifest: Manifest, name: str) -> str | None:
    entry, path = manifest.files.get(name), folder / name
    if entry is None:
        return f"{name}: not listed in {MANIFEST}"
    if Path(name).is_absolute() or ".." in Path(name).parts:
        return f"{name}: outside the bundle"
    if not path.is_file():
        return f"{name}: missing"
    size_bytes = path.stat().st_size
    return (
        None
        if size_bytes == entry.size_bytes
        else f"{name}: {size_bytes} bytes, should be {entry.size_bytes}"
    )


def _hash_problem(name: str, sha256: str, manifest: Manifest) -> str | None:
    wanted = manifest.files[name].sha256
    return None if sha256 == wanted else f"{name}: sha256 {sha256[:12]}…, should be {wanted[:12]}…"


def _refuse(folder: Path, problems: list[str]) -> None:
    if problems:
        raise BundleError(f"{folder}: refusing a damaged bundle: " + "; ".join(problems))


def _hash_all(folder: Path, names: list[str]) -> Iterable[tuple[str, FileEntry]]:
    with ThreadPoolExecutor(max_workers=2) as pool:  # hashlib lets go of the interpreter lock
        yield from zip(names, pool.map(lambda name: hash_file(folder / name), names), strict=True)


def _parse(kind: Any, value: Any, where: str) -> Any:
    """Build `kind` from parsed JSON, strictly: all fields known, present unless defaulted, and well typed."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _parse_dataclass(kind, value, where)
    if origin is Literal:
        if value not in args:
            raise ValueError(f"{where}: {value!r} is not one of {', '.join(map(repr, args))}")
        return value
    if origin in (typing.Union, types.UnionType):  # only `X | None` is used here
        return None if value is None else _parse(next(a for a in args if a is not type(None)), value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where}: must be a list")
        return tuple(_parse(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is Mapping:
        if not isinstance(value, dict):
            raise ValueError(f"{where}: must be an object")
        return {key: _parse(args[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{where}: {value!r} is not a {kind.__name__}")
    return value


def _parse_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: must be an object")
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(value) - set(hints))
    if unknown:
        raise ValueError(f"{where}: unknown field {', '.join(unknown)}")
    required = {
        f.name
        for f in dataclasses.fields(kind)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    missing = sorted(required - set(value))
    if missing:
        raise ValueError(f"{where}: missing field {', '.join(missing)}")
    return kind(**{name: _parse(hints[name], item, f"{where}.{name}") for name, item in value.items()})
