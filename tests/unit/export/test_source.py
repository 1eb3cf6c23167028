"""A source is pinned: by its weights' hash when local, and its licence is read, not guessed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from export.errors import ExportError
from export.source import license_of, resolve


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """The least that is a checkpoint."""
    save_file({"w": torch.ones(4)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    return tmp_path


def test_a_local_folder_is_pinned_by_its_weights(checkpoint: Path) -> None:
    """The revision is the sha256 of the weight files; other weights, another revision."""
    content = (checkpoint / "model.safetensors").read_bytes()
    first = resolve(str(checkpoint))
    assert first.revision == "sha256:" + hashlib.sha256(content).hexdigest()
    save_file({"w": torch.zeros(4)}, checkpoint / "model.safetensors")
    assert resolve(str(checkpoint)).revision != first.revision


@pytest.mark.parametrize(
    ("card", "license_"),
    [
        ("---\nlicense: apache-2.0\ntags:\n- chat\n---\n# Model", "apache-2.0"),
        ('---\nlicense: "mit"  # as upstream\n---\n', "mit"),
        ("---\nlicense: other\nlicense_name: llama3.2\n---\n", "llama3.2"),
        ("# Model\nlicense: apache-2.0\n", "unknown"),
        ("---\ntags: [chat]\n---\n", "unknown"),
    ],
)
def test_the_licence_comes_from_the_front_matter(card: str, license_: str, checkpoint: Path) -> None:
    """Text below the front matter is not a declaration."""
    (checkpoint / "README.md").write_text(card)
    assert license_of(checkpoint) == license_


def test_the_config_may_name_the_licence(checkpoint: Path) -> None:
    """Where there is no card."""
    (checkpoint / "config.json").write_text(json.dumps({"license": "mit"}))
    assert license_of(checkpoint) == "mit"


@pytest.mark.parametrize("source", ["./missing", "/no/such/folder", "a b/c", "a/b/c"])
def test_what_is_neither_folder_nor_hub_id_is_refused(source: str) -> None:
    """No request is made for it."""
    with pytest.raises(ExportError, match="neither a folder nor a hub id"):
        resolve(source)


def test_a_revision_is_for_the_hub(checkpoint: Path) -> None:
    """A local folder has only the weights that lie in it."""
    with pytest.raises(ExportError, match="--revision: 'main' is for hub ids"):
        resolve(str(checkpoint), "main")
