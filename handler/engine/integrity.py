"""Whether files are the ones that were listed: there, of the right size, with the right sha256.

Knows nothing of what is in them.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from handler.errors import BundleError

PART_BYTES = 16 << 20  # resident at once; between parts the interpreter lock is waited for


@dataclass(frozen=True)
class FileEntry:
    """What a file must be to be trusted."""

    sha256: str
    size_bytes: int


Files = Mapping[str, FileEntry]  # by name, relative to the folder


def check_sizes(folder: Path, files: Files) -> None:
    """Check that every file is there and has its size: the cheap half of `verify`, done first.

    Raises: BundleError naming every file that is missing or truncated.
    """
    _refuse(folder, [_size_problem(folder, files, name) for name in sorted(files)])


def verify(folder: Path, files: Files, names: Iterable[str]) -> None:
    """Check presence, size and sha256 of the files called `names`.

    Raises: BundleError naming every file that is missing, truncated or altered.
    """
    problems = {name: _size_problem(folder, files, name) for name in sorted(names)}
    present = [name for name, problem in problems.items() if problem is None]
    for name, found in hash_files(folder, present).items():
        problems[name] = _hash_problem(files, name, found.sha256)
    _refuse(folder, list(problems.values()))


def read(folder: Path, files: Files, name: str) -> bytes:
    """Read a file whole and check the very bytes that are returned.

    Raises: BundleError naming the file when it is missing, truncated or altered.
    """
    _refuse(folder, [_size_problem(folder, files, name)])
    content = (folder / name).read_bytes()
    _refuse(folder, [_hash_problem(files, name, hashlib.sha256(content).hexdigest())])
    return content


def hash_files(folder: Path, names: Iterable[str]) -> dict[str, FileEntry]:
    """Hash files, one after the other."""
    return {name: hash_file(folder / name) for name in names}


def hash_file(path: Path) -> FileEntry:
    """Sha256 and size of one file; mapped part by part, which copies nothing and holds no lock for long."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        size_bytes = path.stat().st_size
        for at in range(0, size_bytes, PART_BYTES):
            length = min(PART_BYTES, size_bytes - at)
            with mmap.mmap(file.fileno(), length, access=mmap.ACCESS_READ, offset=at) as part:
                digest.update(part)
    return FileEntry(digest.hexdigest(), size_bytes)


def _size_problem(folder: Path, files: Files, name: str) -> str | None:
    entry, path = files.get(name), folder / name
    if entry is None:
        return f"{name}: not listed in the manifest"
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


def _hash_problem(files: Files, name: str, sha256: str) -> str | None:
    wanted = files[name].sha256
    return None if sha256 == wanted else f"{name}: sha256 {sha256[:12]}…, should be {wanted[:12]}…"


def _refuse(folder: Path, problems: list[str | None]) -> None:
    found = [problem for problem in problems if problem is not None]
    if found:
        raise BundleError(f"{folder}: refusing a damaged bundle: " + "; ".join(found))
