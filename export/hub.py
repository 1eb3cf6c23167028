"""The model hub: a repository's snapshot in its cache, of which only what an export reads is fetched.

Owns the hub's names, what is wanted, how its errors are told, and what is taken where it is out of reach. Of
files it knows which hold weights.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from pathlib import Path

from export.adapter import WEIGHTS_FILE
from export.config import read_json_object
from export.errors import ExportError, first_line, reason
from export.weights import INDEX, SINGLE, weight_files

HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
DESCRIBING = ["*.json", "*.jinja", "vocab.txt", "merges.txt", "tokenizer.model", "README.md", "LICENSE*"]
IN_FOLDERS = ["*/*"]  # other formats, earlier checkpoints, data: the hub's `*` goes into folders
_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}


def neither(source: str) -> ExportError:
    """The error for what is no name at all."""
    return ExportError(f"{source}: neither a folder nor a hub id such as HuggingFaceTB/SmolLM2-135M-Instruct")


def download(hub_id: str, revision: str | None, check: Callable[[Path], object]) -> tuple[Path, str]:
    """A snapshot in the hub's cache and its commit, which a branch is resolved to once.

    `check` may refuse a folder that holds the config alone. Where the hub is out of reach, a snapshot that an
    earlier download left whole is taken.

    Raises: ExportError when there is no such model or revision, it is gated, the hub cannot be reached, or
    its cache cannot be written.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        folder = _fetch(hub_id, revision, check)
    except HFValidationError:  # the hub's rules for names are narrower than HUB_ID
        raise neither(hub_id) from None
    except GatedRepoError:
        page = f"{constants.ENDPOINT}/{hub_id}"
        raise ExportError(
            f"{hub_id}: the model is gated; accept its terms on {page} and set HF_TOKEN to a token of yours"
        ) from None
    except RepositoryNotFoundError:
        raise ExportError(f"{hub_id}: no such folder here and no such public model on the hub") from None
    except RevisionNotFoundError:
        raise ExportError(f"{hub_id}: the hub has no revision {revision!r}") from None
    except (HfHubHTTPError, OSError, ConnectionError) as error:
        if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
            raise ExportError(f"{hub_id}: the hub's cache cannot be written: {reason(error)}") from None
        cached = _cached(hub_id, revision)
        if cached is None:
            raise ExportError(
                f"{hub_id}: no such folder here, and the hub cannot be reached: {first_line(error)}"
            ) from None
        folder = cached
    return folder, folder.name


def _fetch(hub_id: str, revision: str | None, check: Callable[[Path], object]) -> Path:
    """The snapshot of what is wanted: the config first, whose refusal saves gigabytes, then by its commit."""
    from huggingface_hub import HfApi, snapshot_download

    files = HfApi().model_info(hub_id, revision=revision).siblings or []
    first = Path(snapshot_download(hub_id, revision=revision, allow_patterns=["config.json", INDEX]))
    check(first)
    is_single = any(file.rfilename == SINGLE for file in files)
    wanted = [*DESCRIBING, WEIGHTS_FILE, *([SINGLE] if is_single else _shards(first))]
    return Path(
        snapshot_download(hub_id, revision=first.name, allow_patterns=wanted, ignore_patterns=IN_FOLDERS)
    )


def _shards(folder: Path) -> list[str]:
    names = (read_json_object(folder / INDEX) or {}).get("weight_map")
    return sorted(set(map(str, names.values()))) if isinstance(names, dict) else []


def _cached(hub_id: str, revision: str | None) -> Path | None:
    """The snapshot in the cache, if all of its weights are there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(hub_id, revision=revision, local_files_only=True))
        return folder if (folder / WEIGHTS_FILE).is_file() or weight_files(folder) else None
    except (LocalEntryNotFoundError, ExportError):
        return None
