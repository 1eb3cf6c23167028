"""A source is pinned: by its weights' hash when local, and its licence is read, not guessed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from safetensors.torch import save_file

from export.errors import ExportError, UnknownArchitecture
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
        ("---\nlicense: other\nlicense_name: My  Licence\n  2\n---\n", "My Licence 2"),
        ("---\nlicense:\n- mit\n- apache-2.0\ntags:\n- chat\n---\n", "mit and apache-2.0"),
        ("---\nlicense:  # two\n\n  - 'mit'  # ours\n  - cc-by-4.0\n---\n", "mit and cc-by-4.0"),
        ("---\nlicense: [mit, 'apache-2.0']\n---\n", "mit and apache-2.0"),
        ("---\nlicense: [\n  mit,\n  apache-2.0\n]\n---\n", "mit and apache-2.0"),
        ("---\nlanguage:\nlicense: apache-2.0\n---\n", "apache-2.0"),
        ("---\nlicense:\ntags:\n- chat\n---\n", "unknown"),
        ("---\nlicense:\n  apache-2.0\n---\n", "apache-2.0"),
        ("---\nlicense: [\n---\n", "unknown"),  # no YAML
        ("# Model\nlicense: apache-2.0\n", "unknown"),
        ("---\ntags: [chat]\n---\n", "unknown"),
    ],
)
def test_the_licence_comes_from_the_front_matter(card: str, license_: str, checkpoint: Path) -> None:
    """Text below the front matter is not a declaration."""
    (checkpoint / "README.md").write_text(card)
    assert license_of(checkpoint) == license_


def test_a_model_has_the_whole_name_on_its_card(checkpoint: Path) -> None:
    """Not the first word of it."""
    (checkpoint / "README.md").write_text("---\nmodel_name: My Model 7B\n---\n")
    assert resolve(str(checkpoint)).id == "My Model 7B"


def test_the_config_may_name_the_licence(checkpoint: Path) -> None:
    """Where there is no card."""
    (checkpoint / "config.json").write_text(json.dumps({"license": "mit"}))
    assert license_of(checkpoint) == "mit"


@pytest.mark.parametrize(
    "source",
    [
        *("./missing", "/no/such/folder", "a b/c", "a/b/c"),
        *("my--model", "build/smollm2.", "my-model-", "a..b", "org/name.git"),
    ],
)
def test_what_is_neither_folder_nor_hub_id_is_refused(source: str) -> None:
    """No request is made for it."""
    with pytest.raises(ExportError, match="neither a folder nor a hub id"):
        resolve(source)


def test_a_model_of_more_than_text_is_refused_by_its_architecture(checkpoint: Path) -> None:
    """Not by the sizes that are missing where a model of text has them."""
    config = {"architectures": ["Gemma3ForConditionalGeneration"], "text_config": {"vocab_size": 262208}}
    (checkpoint / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnknownArchitecture, match="Gemma3ForConditionalGeneration is not a model of text"):
        resolve(str(checkpoint))


def test_a_revision_is_for_the_hub(checkpoint: Path) -> None:
    """A local folder has only the weights that lie in it."""
    with pytest.raises(ExportError, match="--revision: 'main' is for hub ids"):
        resolve(str(checkpoint), "main")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_full_disk_is_not_told_as_a_hub_out_of_reach(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the operating system refuses is told with the file it is about."""

    def refused(*_: object, **__: object) -> str:
        raise OSError(number, os.strerror(number), "/cache/blobs/7c1f")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: SimpleNamespace(siblings=None))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refused)
    told = f"some/model: the hub's cache cannot be written: /cache/blobs/7c1f: {os.strerror(number)}"
    with pytest.raises(ExportError, match=re.escape(told)):
        resolve("some/model")


def write_adapter(folder: Path, base: str, card: str = "") -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    save_file({"w": torch.ones(2)}, folder / "adapter_model.safetensors")
    (folder / "README.md").write_text(card)
    return folder


def test_an_adapter_finds_its_base_from_where_it_lies(checkpoint: Path) -> None:
    """A relative name is a folder seen from the adapter; both are pinned, and both licences are told."""
    (checkpoint / "README.md").write_text("---\nlicense: mit\n---\n")
    adapter = write_adapter(checkpoint / "polite", "..", "---\nlicense: apache-2.0\n---\n")
    found = resolve(str(adapter))
    base = resolve(str(checkpoint))
    content = (adapter / "adapter_model.safetensors").read_bytes()
    assert found.folder.resolve() == checkpoint.resolve()
    assert found.revision == f"{base.revision}+sha256:{hashlib.sha256(content).hexdigest()}"
    assert found.license == "apache-2.0 and mit"
    assert found.text_folder == found.folder
    (adapter / "tokenizer_config.json").write_text("{}")
    assert found.text_folder == adapter


@pytest.mark.parametrize(("base", "said"), [("", "must name the base model"), ("./gone", "neither a folder")])
def test_an_adapter_without_a_base_is_refused(base: str, said: str, tmp_path: Path) -> None:
    """The base is named, or the field that should name it."""
    with pytest.raises(ExportError, match=said):
        resolve(str(write_adapter(tmp_path / "polite", base)))


def test_an_adapter_is_not_put_on_an_adapter(checkpoint: Path) -> None:
    """One of them would be lost."""
    adapter = write_adapter(checkpoint / "polite", "..")
    with pytest.raises(ExportError, match=r"--adapter: .* is an adapter itself"):
        resolve(str(adapter), adapter=str(adapter))
