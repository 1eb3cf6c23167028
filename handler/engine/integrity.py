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
class Parts:
    """The hashes of a file's pieces, so that each can be judged as it arrives; the last may be shorter."""

    size_bytes: int
    sha256: tuple[str, ...]


@dataclass(frozen=True)
class FileEntry:
    """What a file must be to be trusted."""

    sha256: str
    size_bytes: int
    parts: Parts | None = None  # of a file that is larger than one; at first not recorded


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
        problems[name] = hash_problem(name, found.sha256, files[name].sha256)
    _refuse(folder, list(problems.values()))


def read(folder: Path, files: Files, name: str) -> bytes:
    """Read a file whole and check the very bytes that are returned.

    Raises: BundleError naming the file when it is missing, truncated or altered.
    """
    _refuse(folder, [_size_problem(folder, files, name)])
    content = (folder / name).read_bytes()
    check_hash(folder, files, name, hashlib.sha256(content).hexdigest())
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


def hash_parts(path: Path, part_bytes: int = PART_BYTES) -> Parts | None:
    """Sha256 of each piece of a file; None for a file of one."""
    if path.stat().st_size <= part_bytes:
        return None
    with path.open("rb") as file:
        pieces = iter(lambda: file.read(part_bytes), b"")
        return Parts(part_bytes, tuple(hashlib.sha256(piece).hexdigest() for piece in pieces))


def check_names(where: object, files: Files) -> None:
    """Check that no name leads out of the bundle.

    Raises: BundleError.
    """
    _refuse(where, [_name_problem(name) for name in sorted(files)])


def check_hash(where: object, files: Files, name: str, sha256: str) -> None:
    """Compare the hash that a file turned out to have with the one it should have.

    Raises: BundleError naming the file.
    """
    _refuse(where, [hash_problem(name, sha256, files[name].sha256)])


def _size_problem(folder: Path, files: Files, name: str) -> str | None:
    entry, path = files.get(name), folder / name
    if entry is None:
        return f"{name}: not listed in the manifest"
    if problem := _name_problem(name):
        return problem
    if not path.is_file():
        return f"{name}: missing"
    size_bytes = path.stat().st_size
    return (
        None
        if size_bytes == entry.size_bytes
        else f"{name}: {size_bytes} bytes, should be {entry.size_bytes}"
    )


def _name_problem(name: str) -> str | None:
    is_outside = Path(name).is_absolute() or ".." in Path(name).parts
    return f"{name}: outside the bundle" if is_outside else None


def hash_problem(what: str, found: str, wanted: str) -> str | None:
    """Say what is wrong with a hash, if anything is."""
    return None if found == wanted else f"{what}: sha256 {found[:12]}…, should be {wanted[:12]}…"


def _refuse(where: object, problems: list[str | None]) -> None:
    found = [problem for problem in problems if problem is not None]
    if found:
        raise BundleError(f"{where}: refusing a damaged bundle: " + "; ".join(found))
