"""A verified bundle becomes an engine that answers; usable alone as a library, without HTTP or AWS.

from handler.engine import load

for piece in load("models/house/bundle").chat([{"role": "user", "content": "Hello!"}]):
    print(piece.text, end="", flush=True)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from handler.engine.engine import Engine
    from handler.engine.files import BundleFiles
    from handler.engine.loader import Loading

__all__ = ["load", "start_loading"]


def load(folder: str | Path, *, threads: int | None = None, exact: bool = True) -> Engine:
    """Load a bundle, checking the hash of every file; `threads` None means one for each usable core.

    `exact`: the same prompt and seed give the same tokens whatever is cached, guessed or cut; False gives
    that up, to decode faster.

    Raises: BundleError naming the file that is missing, damaged or of another format.
    """
    return start_loading(folder, threads=threads, exact=exact, alone=True).engine()


def start_loading(
    bundle: str | Path | BundleFiles,
    *,
    threads: int | None = None,
    exact: bool = True,
    alone: bool = False,
) -> Loading:
    """Begin with what takes longest, in threads; `engine()` of what is returned does the rest.

    `alone`: the caller has nothing else to do meanwhile, so that every core may be used.

    Raises: BundleError, as `load` does.
    """
    from handler.engine import loader  # here, so that `handler.engine.bundle` can be imported for nothing
    from handler.engine.files import Folder

    files = Folder(Path(bundle)) if isinstance(bundle, str | Path) else bundle
    return loader.Loading(files, threads, exact=exact, alone=alone)
