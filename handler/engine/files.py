"""Where a bundle's files come from: what the loader asks of any such place, and the usual one, a folder.

Nothing is handed out that is not what the manifest lists, except a folder's weights, which are mapped while
they are verified. Knows nothing of what is in the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from handler.engine import integrity
from handler.engine.bundle import Manifest, read_manifest
from handler.errors import BundleError

Weights = Path | Mapping[str, memoryview]
"""A folder to map files from, or their content by name."""


class BundleFiles(Protocol):
    """A bundle's files. Every method raises BundleError that names the file."""

    manifest: Manifest

    def path(self, name: str) -> str:
        """What messages call a file."""

    def read(self, name: str) -> bytes:
        """Give a file's content, verified."""

    def verify(self, names: Iterable[str]) -> None:
        """Come back when these files are known to be the right ones."""

    def weights(self, names: Iterable[str]) -> Weights:
        """Give what the graph finds its weights in, among these files; asked for once."""

    def close(self) -> None:
        """Begin nothing more, and come back when nothing is under way."""


class Folder:
    """A bundle's files in a folder."""

    def __init__(self, folder: Path) -> None:
        """Raises: BundleError when the manifest or a size is wrong."""
        self.folder, self.manifest = folder, read_manifest(folder)
        with _readable(folder):
            integrity.check_sizes(folder, self.manifest.files)

    def path(self, name: str) -> str:
        """What messages call a file."""
        return str(self.folder / name)

    def read(self, name: str) -> bytes:
        """Read a file whole and check these very bytes."""
        with _readable(self.folder):
            return integrity.read(self.folder, self.manifest.files, name)

    def verify(self, names: Iterable[str]) -> None:
        """Hash these files."""
        with _readable(self.folder):
            integrity.verify(self.folder, self.manifest.files, names)

    def weights(self, names: Iterable[str]) -> Path:  # noqa: ARG002  (whoever maps finds them itself)
        """The folder: ONNX Runtime maps from it what it needs."""
        return self.folder

    def close(self) -> None:
        """Nothing is under way here but what its callers do."""


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """Tell what the operating system refuses as all else that is wrong with a bundle."""
    try:
        yield
    except OSError as error:
        raise BundleError(f"{folder}: cannot be read: {error}") from error
