"""Where a model comes from: a hub id, pinned to a commit, or a local folder, pinned by its weights' hash.

Owns the download, the revision and the licence. Does not know architectures.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from export.config import Config
from export.errors import ExportError
from export.weights import weight_files

HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
WANTED = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model", "README.md", "LICENSE*"]
UNKNOWN_LICENSE = "unknown"


@dataclass(frozen=True)
class Checkpoint:
    """A model folder on this machine, and where it came from."""

    folder: Path
    id: str
    revision: str  # a hub commit, or `sha256:` over the weights
    license: str
    config: Config


def resolve(source: str, revision: str | None = None) -> Checkpoint:
    """The checkpoint behind a folder or a hub id; `revision` is a hub branch, tag or commit.

    Raises: ExportError when it is neither, or the hub cannot be reached.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ExportError(f"--revision: {revision!r} is for hub ids, {source} is a local folder")
        config = Config.load(folder)
        pinned = "sha256:" + _hash_weights(folder)
        name = _front_matter(folder).get("model_name") or folder.resolve().name
        return Checkpoint(folder, name, pinned, license_of(folder), config)
    if folder.exists() or source.startswith((".", "/", "~")) or not HUB_ID.fullmatch(source):
        raise ExportError(
            f"{source}: neither a folder nor a hub id such as HuggingFaceTB/SmolLM2-135M-Instruct"
        )
    folder, commit = _download(source, revision)
    return Checkpoint(folder, source, commit, license_of(folder), Config.load(folder))


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
    """The single-valued fields at the head of a model card. Source: https://hf.co/docs/hub/model-cards"""
    card = folder / "README.md"
    if not card.is_file():
        return {}
    text = card.read_text(encoding="utf-8", errors="replace")
    front = re.match(r"---\r?\n(.*?)\r?\n---", text, re.DOTALL)
    fields = re.findall(r"^(\w+):\s*[\"']?([^\s\"'#\[]+)", front[1], re.MULTILINE) if front else []
    return dict(fields)


def _download(hub_id: str, revision: str | None) -> tuple[Path, str]:
    """A snapshot in the hub's cache and its commit: a branch is resolved once, then the commit is used."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        commit = HfApi().model_info(hub_id, revision=revision).sha
        if commit is None:
            raise ExportError(f"{hub_id}: the hub names no commit for revision {revision or 'main'}")
        return Path(snapshot_download(hub_id, revision=commit, allow_patterns=WANTED)), commit
    except RepositoryNotFoundError:
        raise ExportError(f"{hub_id}: no such folder here and no such public model on the hub") from None
    except RevisionNotFoundError:
        raise ExportError(f"{hub_id}: the hub has no revision {revision!r}") from None
    except (HfHubHTTPError, OSError, ConnectionError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ExportError(f"{hub_id}: no such folder here, and the hub cannot be reached: {reason}") from None


def _hash_weights(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in weight_files(folder):
        with file.open("rb", buffering=0) as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
