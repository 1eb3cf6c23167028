"""Where a model comes from: a hub id, pinned to a commit, or a local folder, pinned by its weights' hash.

Owns the revision, the licence, and which base an adapter goes with. Of architectures it knows only whether
they are of text alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from export.adapter import CONFIG_FILE, AdaptedWeights, Adapter
from export.config import Config
from export.errors import ExportError, UnknownArchitecture, about
from export.hub import HUB_ID, download, neither
from export.weights import Weights, weight_files

UNKNOWN_LICENSE = "unknown"


@dataclass(frozen=True)
class Checkpoint:
    """A model folder on this machine, and where it came from."""

    folder: Path
    id: str
    revision: str  # a hub commit, or `sha256:` over the weights
    license: str
    config: Config
    adapter: Adapter | None = None

    def weights(self) -> Weights:
        """Its tensors, with the adapter's changes where there is one."""
        return Weights(self.folder) if self.adapter is None else AdaptedWeights(self.folder, self.adapter)

    @property
    def text_folder(self) -> Path:
        """Where its tokenizer is: an adapter may bring one, with a chat template of its own."""
        if self.adapter is not None and (self.adapter.folder / "tokenizer_config.json").is_file():
            return self.adapter.folder
        return self.folder


def resolve(source: str, revision: str | None = None, adapter: str | None = None) -> Checkpoint:
    """The checkpoint behind a folder or a hub id; `revision` is a hub branch, tag or commit of `source`.

    An `adapter` is merged into it. Where `source` is itself an adapter, the base that it names is resolved.

    Raises: ExportError when it is neither, the hub cannot be reached, or its cache cannot be written.
    """
    found = _find(source, revision)
    if not (found.folder / CONFIG_FILE).is_file() or (found.folder / "config.json").is_file():
        base = _checkpoint(found)
        return base if adapter is None else _adapted(base, _find(adapter, None))
    if adapter is not None:
        raise ExportError(f"--adapter: {source} is an adapter itself; name its base instead")
    return _adapted(_checkpoint(_base_of(Adapter(found.folder))), found)


@dataclass(frozen=True)
class _Found:
    """A folder, and what it is called and pinned by where that is known."""

    folder: Path
    id: str
    commit: str | None = None


def _find(source: str, revision: str | None) -> _Found:
    folder = Path(source).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ExportError(f"--revision: {revision!r} is for hub ids, {source} is a local folder")
        return _Found(folder, _front_matter(folder).get("model_name") or folder.resolve().name)
    if folder.exists() or source.startswith((".", "/", "~")) or not HUB_ID.fullmatch(source):
        raise neither(source)
    folder, commit = download(source, revision, _refuse_early)
    return _Found(folder, source, commit)


def _base_of(adapter: Adapter) -> _Found:
    """The model that an adapter was trained on: a folder, seen from the adapter or from here, or a hub id."""
    for folder in (adapter.folder / adapter.base, Path(adapter.base)):
        if folder.is_dir():
            return _find(str(folder), None)
    return _find(adapter.base, adapter.config.fields.get("revision"))


def _checkpoint(found: _Found) -> Checkpoint:
    config = _text_config(found.folder)
    pinned = found.commit or "sha256:" + _hash(weight_files(found.folder))
    return Checkpoint(found.folder, found.id, pinned, license_of(found.folder), config)


def _refuse_early(folder: Path) -> None:
    """Refuse what a config tells, where there is one: an adapter's repository has none."""
    if (folder / "config.json").is_file():
        _text_config(folder)


def _text_config(folder: Path) -> Config:
    """The config, unless it is of a model of more than text, whose sizes are one level down."""
    config = Config.load(folder)
    if "text_config" in config.fields and "vocab_size" not in config.fields:
        rule = "is not a model of text alone (its config has a text_config), and has no graph"
        raise UnknownArchitecture(f"{config.path}: architectures: {config.architecture} {rule}")
    return config


def _adapted(base: Checkpoint, found: _Found) -> Checkpoint:
    adapter = Adapter(found.folder)
    pinned = found.commit or "sha256:" + _hash([adapter.weights_file])
    licenses = {base.license, license_of(found.folder)} - {UNKNOWN_LICENSE}
    return dataclasses.replace(
        base,
        id=f"{base.id}+{found.id.rsplit('/', 1)[-1]}",
        revision=f"{base.revision}+{pinned}",
        license=" and ".join(sorted(licenses)) or UNKNOWN_LICENSE,
        adapter=adapter,
    )


def license_of(folder: Path) -> str:
    """The licence named by the model card's front matter, else by config.json, else `unknown`."""
    fields = _front_matter(folder)
    named = fields.get("license_name") if fields.get("license") == "other" else None
    if found := named or fields.get("license"):
        return found
    config = folder / "config.json"
    value = Config.load(folder).fields.get("license") if config.is_file() else None
    return value if isinstance(value, str) and value else UNKNOWN_LICENSE


def _front_matter(folder: Path) -> dict[str, str]:
    """The fields at the head of a model card that are texts, each on one line, or lists of texts.

    Those of a list are joined by `and`. What is no YAML has no fields.

    Source: https://hf.co/docs/hub/model-cards
    """
    card = folder / "README.md"
    if not card.is_file():
        return {}
    text = card.read_text(encoding="utf-8", errors="replace")
    front = re.match(r"---\r?\n(.*?)\r?\n---", text, re.DOTALL)
    try:
        fields = yaml.safe_load(front[1]) if front else None
    except yaml.YAMLError:
        return {}
    if not isinstance(fields, dict):
        return {}
    return {str(name): " and ".join(_texts(value)) for name, value in fields.items()}


def _texts(value: Any) -> list[str]:
    each = value if isinstance(value, list) else [value]
    lines = (" ".join(str(one).split()) for one in each if isinstance(one, str | int | float))
    return [line for line in lines if line]


def _hash(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with about(file), file.open("rb", buffering=0) as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
