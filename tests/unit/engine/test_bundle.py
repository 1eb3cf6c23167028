"""The manifest: written, sealed, read back, and refused when anything about it is wrong."""

from __future__ import annotations

import dataclasses
import json
import resource
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.engine import integrity
from handler.engine.bundle import (
    MANIFEST,
    Dims,
    Graph,
    Manifest,
    Quantization,
    Source,
    Tokens,
    read_manifest,
    sealed,
    write_manifest,
)
from handler.engine.files import Folder
from handler.errors import BundleError

GRAPH = Graph(
    file="model.onnx",
    cache="shared",
    input_ids="input_ids",
    logits="logits",
    past_key="past.{layer}.key",
    past_value="past.{layer}.value",
    present_key="present.{layer}.key",
    present_value="present.{layer}.value",
    rows="rows",
)
MADE = Manifest(
    name="tiny 睡鼠",
    created="2026-11-23T00:00:00+00:00",
    source=Source("org/tiny", "0" * 40, "apache-2.0", "LlamaForCausalLM", "fused"),
    dims=Dims(layers=2, heads=4, kv_heads=2, head_dim=8, hidden=32, vocabulary=100, parameters=1234),
    context_tokens=64,
    graph=GRAPH,
    tokens=Tokens(eos=(0, 2), bos=1, template_tokens={"bos_token": "<s>"}),
    quantization=Quantization("int4", 4, block=32),
    generation={"temperature": 0.5},
    tools={"onnx": "1"},
    fidelity={"kl": {"mean": 0.01}},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "report").mkdir()
    (tmp_path / "model.onnx").write_bytes(b"graph")
    (tmp_path / "report" / "index.html").write_text("fine")
    return tmp_path


def test_a_manifest_is_read_as_it_was_written(folder: Path) -> None:
    """All fields survive, and every file is listed with its hash, those in folders too."""
    written = write_manifest(folder, MADE)
    assert read_manifest(folder) == written
    assert dataclasses.replace(written, files={}) == MADE
    assert set(written.files) == {"model.onnx", "report/index.html"}
    integrity.verify(folder, written.files, written.files)


def test_writing_again_changes_nothing_but_what_changed(folder: Path) -> None:
    """The manifest does not list itself, so it can be written as often as needed."""
    first = write_manifest(folder, MADE)
    again = write_manifest(folder, dataclasses.replace(first, exact=False))
    assert again == dataclasses.replace(first, exact=False)


def test_what_the_operating_system_refuses_is_told_of_the_file(folder: Path) -> None:
    """A file that cannot be opened is one line for the operator, as one that is damaged."""
    write_manifest(folder, MADE)
    files = Folder(folder)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    for look in (lambda: files.read("model.onnx"), lambda: files.verify(["model.onnx"])):
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))  # who is root may read everything
        try:
            with pytest.raises(BundleError, match=r"cannot be read: .*model\.onnx"):
                look()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_every_single_byte_of_the_manifest_is_under_its_seal(folder: Path) -> None:
    """Whichever byte is changed, white space included, it is refused."""
    write_manifest(folder, MADE)
    path = folder / MANIFEST
    good = path.read_bytes()
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(BundleError, match=r"bundle\.json"):
            read_manifest(folder)


VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=4)
PLACES = [
    ("name",),
    ("dims", "layers"),
    ("graph",),
    ("graph", "cache"),
    ("tokens", "eos"),
    ("files",),
    ("exact",),
]


@given(place=st.sampled_from(PLACES), value=VALUES)
@settings(max_examples=80, deadline=None)
def test_a_field_of_another_type_is_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, place: tuple[str, ...], value: Any
) -> None:
    """Either the value is of the field's type and comes back, or the error says which field is wrong."""
    folder = tmp_path_factory.mktemp("manifest")
    fields: Any = json.loads(json.dumps(dataclasses.asdict(MADE)))
    at = fields
    for name in place[:-1]:
        at = at[name]
    at[place[-1]] = value
    (folder / MANIFEST).write_bytes(sealed(fields))
    try:
        found, refusal = dataclasses.asdict(read_manifest(folder)), None
    except BundleError as error:
        found, refusal = {}, str(error)
    if refusal is not None:
        assert place[-1] in refusal
        return
    for name in place:
        found = found[name]
    assert found == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize("field", ["name", "dims", "context_tokens", "graph", "tokens", "source"])
def test_a_missing_field_is_refused_by_name(folder: Path, field: str) -> None:
    """Model facts have no defaults."""
    fields = dataclasses.asdict(MADE)
    del fields[field]
    (folder / MANIFEST).write_bytes(sealed(fields))
    with pytest.raises(BundleError, match=f"missing field {field}"):
        read_manifest(folder)


def test_all_damaged_files_are_named_at_once(folder: Path) -> None:
    """One refusal tells the operator everything that is wrong."""
    files = write_manifest(folder, MADE).files
    (folder / "model.onnx").write_bytes(b"GRAPH")
    (folder / "report" / "index.html").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx: sha256.*report/index\.html: missing"):
        integrity.verify(folder, files, files)
    with pytest.raises(BundleError, match=r"report/index\.html: missing"):
        integrity.check_sizes(folder, files)
    with pytest.raises(BundleError, match=r"model\.onnx: sha256"):
        integrity.read(folder, files, "model.onnx")
