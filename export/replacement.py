"""A new folder in the place of an old one, whole or not at all: written beside it, renamed at the end.

Owns the temporary folder, the lock by which others see that somebody writes into it, and the renames. Does
not know what is written.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from export.errors import ExportError
from handler.engine.bundle import MANIFEST

RANDOM = "?" * 8  # what `mkdtemp` puts into a name


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A new sibling folder of `out` that takes its place at the end, or vanishes with any failure.

    A link stays one; what it names is replaced.

    Raises: ExportError for an `out` that is not a bundle, or could not be replaced at the end.
    """
    out = out.resolve()
    stuck = "is a mount point" if out.is_mount() else "holds the current folder"
    if out.is_mount() or Path.cwd().is_relative_to(out):
        raise ExportError(f"--out: {out} {stuck} and cannot be replaced; name a folder in it")
    if out.exists() and not (out / MANIFEST).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(f"--out: {out} exists and is not a bundle; name a new folder or an old bundle")
    out.parent.mkdir(parents=True, exist_ok=True)
    _sweep(out)
    made = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    folder = made.with_name(f"{made.name}.partial")
    with contextlib.ExitStack() as at_the_end:
        for left in (made, folder):
            at_the_end.callback(shutil.rmtree, left, ignore_errors=True)
        with contextlib.suppress(OSError):  # a file system without locks, where nothing is swept either
            at_the_end.enter_context(_locked(made))
        made.replace(folder)  # by this name `_sweep` sees it, and not before it is locked
        yield folder
        folder.chmod(0o755)  # mkdtemp's own is for its maker alone
        replace(out, folder)


def replace(out: Path, folder: Path) -> None:
    """Rename `folder` to `out`; what was there comes back where that fails."""
    old = folder.with_suffix(".old")
    if out.exists():
        out.replace(old)
    try:
        folder.replace(out)
    finally:
        if old.exists() and not out.exists():
            old.replace(out)
        shutil.rmtree(old, ignore_errors=True)


def _sweep(out: Path) -> None:
    """Remove what killed exports to `out` left; a lock ends with its process, however that ends."""
    for left in out.parent.glob(f".{glob.escape(out.name)}.{RANDOM}.partial"):
        with contextlib.suppress(OSError), _locked(left):
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Raises: OSError where another holds the lock, or there are none."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
