"""Whether files are the ones that were listed: there, of the right size, with the right sha256.

Knows nothing of what is in them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from handler.errors import BundleError

CHUNK_BYTES = 1 << 20


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


def hash_files(folder: Path, names: list[str]) -> dict[str, FileEntry]:
    """Hash files, two at a time: hashlib lets go of the interpreter lock."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        return dict(zip(names, pool.map(lambda name: hash_file(folder / name), names), strict=True))


def hash_file(path: Path) -> FileEntry:
    """Sha256 and size of one file."""
    digest, size_bytes = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size_bytes += len(chunk)
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
