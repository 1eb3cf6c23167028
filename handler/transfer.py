"""A bundle's files over a network straight into memory: in parts, several at once, each verified on arrival.

    manifest -> parts of all files, CONNECTIONS at once, each hashed, each tried ATTEMPTS times
             -> files, each hashed whole, in the order in which a start asks for them

Owns the order, the repetition and the verification, so that nothing half-written or mixed is ever handed
out: what comes must have the hashes of one sealed manifest. Knows no S3: whoever has the objects is asked for
ranges of bytes. Nothing is written to a disk.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from handler.engine import integrity
from handler.engine.bundle import MANIFEST, Manifest, parse_manifest
from handler.errors import BundleError

CONNECTIONS = 8
"""Parts under way at once. Source: S3's own advice of 8 to 16 MB a range, one request for each 85 to 90 MB/s,
https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance-guidelines.html"""

ATTEMPTS = 5
BACKOFF_S = 0.1
"""After attempt n a pause of up to BACKOFF_S * 2**n: at most 3 s in all, and no two wait alike."""

PROGRESS_S = 1.0

MIB = 1 << 20


class Interrupted(Exception):
    """A transfer went wrong in a way that the next attempt may not."""


class Objects(Protocol):
    """A place with a bundle's files, by their names in the manifest.

    Raises: Interrupted where another attempt may help, BundleError where none can.
    """

    where: str

    def read(self, name: str) -> bytes:
        """Give an object whole."""

    def read_into(self, part: memoryview, name: str, start: int, size_bytes: int) -> None:
        """Fill `part` with what lies at `start` of an object that has to be of this size.

        Every range of an object comes from one and the same version of it.
        """

    def close(self) -> None:
        """Let go of all connections."""


@dataclass(frozen=True)
class _Part:
    name: str
    start: int
    content: memoryview  # filled in place
    sha256: str | None  # of bundles that list whole files alone, not known

    def __str__(self) -> str:
        return f"{self.name}, bytes {self.start} to {self.start + len(self.content) - 1}"


class Progress:
    """Says how far it has got, no more than once a second, and at the end how fast it was."""

    def __init__(self, where: str, total_bytes: int, tell: Callable[[str], None]) -> None:
        self._where, self._total, self._tell = where, total_bytes, tell
        self._lock = threading.Lock()
        self._began_s = self._told_s = time.monotonic()
        self._bytes = self._repeated = 0

    def arrived(self, size_bytes: int) -> None:
        """Count a part that is there."""
        with self._lock:
            self._bytes += size_bytes
            now_s = time.monotonic()
            is_last = self._bytes == self._total
            if not is_last and now_s - self._told_s < PROGRESS_S:
                return
            self._told_s, elapsed_s = now_s, max(now_s - self._began_s, 1e-3)
            speed = self._bytes / MIB / elapsed_s
            line = f"{self._where}: {self._bytes / MIB:.1f} of {self._total / MIB:.1f} MiB, {speed:.0f} MiB/s"
            self._tell(line + (f", {self._repeated} parts repeated" if self._repeated else ""))

    def repeats(self, part: object, problem: str) -> None:
        """Say why a part is asked for again."""
        with self._lock:
            self._repeated += 1
            self._tell(f"{self._where}/{part}: {problem}; asked for again")


class FetchedFiles:
    """A bundle's files on their way into memory (`handler.engine.files.BundleFiles`)."""

    def __init__(self, objects: Objects, tell: Callable[[str], None]) -> None:
        """Fetch the manifest, and begin with everything else.

        Raises: BundleError when the manifest is wrong or cannot be had.
        """
        self._objects, self._closing = objects, threading.Event()
        self._content: dict[str, memoryview] = {}
        self._reason: BundleError | None = None  # the first one, of which all others are consequences
        self._fetching = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="fetch")
        self._hashing = ThreadPoolExecutor(1, thread_name_prefix="hash")
        try:
            self.manifest = self._fetch_manifest()
            total_bytes = sum(entry.size_bytes for entry in self.manifest.files.values())
            self._progress = Progress(objects.where, total_bytes, tell)
            self._arrivals = {name: self._begin(name) for name in _in_order(self.manifest)}
        except BaseException:
            self.close()
            raise

    def path(self, name: str) -> str:
        """What messages call a file."""
        return f"{self._objects.where}/{name}"

    def read(self, name: str) -> bytes:
        """Wait for a file. Raises: BundleError, as all that wait."""
        self._wait(name)
        return bytes(self._content[name])

    def verify(self, names: Iterable[str]) -> None:
        """Wait for files."""
        for name in names:
            self._wait(name)

    def weights(self, names: Iterable[str]) -> dict[str, memoryview]:
        """Wait for files and give them away: they are kept no longer than the caller keeps them."""
        names = list(names)
        self.verify(names)
        return {name: self._content.pop(name) for name in names}

    def close(self) -> None:
        """Stop what is under way and let go of the connections; what has arrived stays readable."""
        self._closing.set()
        self._fetching.shutdown(cancel_futures=True)
        self._hashing.shutdown(cancel_futures=True)
        self._objects.close()

    def _fetch_manifest(self) -> Manifest:
        path, found = self.path(MANIFEST), list[bytes]()
        self._patiently(MANIFEST, lambda: found.append(self._objects.read(MANIFEST)))
        manifest = parse_manifest(found[0], path)
        integrity.check_names(self._objects.where, manifest.files)
        return manifest

    def _begin(self, name: str) -> Future[None]:
        entry = self.manifest.files.get(name)
        if entry is None:
            raise BundleError(f"{self._objects.where}: refusing a damaged bundle: {name}: not listed")
        parts = _parts_of(name, entry, self._room(name, entry.size_bytes), self._objects.where)
        arriving = [self._fetching.submit(self._fetch, part) for part in parts]
        return self._hashing.submit(self._check_whole, name, parts, arriving)

    def _room(self, name: str, size_bytes: int) -> memoryview:
        try:
            self._content[name] = memoryview(bytearray(size_bytes))
        except (MemoryError, OverflowError):
            raise BundleError(
                f"{self.path(name)}: {size_bytes} bytes are more than there is memory"
            ) from None
        return self._content[name]

    def _fetch(self, part: _Part) -> None:
        def once() -> None:
            size_bytes = self.manifest.files[part.name].size_bytes
            self._objects.read_into(part.content, part.name, part.start, size_bytes)
            if part.sha256 is not None:
                found = hashlib.sha256(part.content).hexdigest()
                if problem := integrity.hash_problem("the part", found, part.sha256):
                    raise Interrupted(problem)

        try:
            self._patiently(part, once)
        except BundleError as error:
            self._reason = self._reason or error
            self._closing.set()
            raise
        self._progress.arrived(len(part.content))

    def _patiently(self, what: object, act: Callable[[], None]) -> None:
        """Do something that may be interrupted, a few times."""
        for attempt in range(1, ATTEMPTS + 1):
            if self._closing.is_set():
                raise CancelledError
            try:
                act()
                return
            except Interrupted as error:
                problem = str(error)
            if attempt < ATTEMPTS:
                if what != MANIFEST:
                    self._progress.repeats(what, problem)
                self._closing.wait(random.uniform(0, BACKOFF_S * 2**attempt))
        raise BundleError(f"{self._objects.where}/{what}: {problem}, {ATTEMPTS} times in a row")

    def _check_whole(self, name: str, parts: list[_Part], arriving: list[Future[None]]) -> None:
        """Hash a file from its beginning while its end may still be under way."""
        digest = hashlib.sha256()
        for part, future in zip(parts, arriving, strict=True):
            future.result()
            digest.update(part.content)
        integrity.check_hash(self._objects.where, self.manifest.files, name, digest.hexdigest())

    def _wait(self, name: str) -> None:
        arrival = self._arrivals.get(name)
        if arrival is None:
            raise BundleError(f"{self._objects.where}: refusing a damaged bundle: {name}: not listed")
        with suppress(CancelledError):
            arrival.result()
            return
        raise self._reason or BundleError(f"{self.path(name)}: given up")


def _in_order(manifest: Manifest) -> list[str]:
    """The graph first, for it is asked for first; then small before large."""
    rest = manifest.files.keys() - {manifest.graph.file}
    return [manifest.graph.file, *sorted(rest, key=lambda name: manifest.files[name].size_bytes)]


def _parts_of(name: str, entry: integrity.FileEntry, content: memoryview, where: str) -> list[_Part]:
    step = entry.parts.size_bytes if entry.parts else integrity.PART_BYTES
    starts = range(0, entry.size_bytes, step) if step > 0 else range(0)
    hashes: list[str | None] = list(entry.parts.sha256) if entry.parts else [None] * len(starts)
    if len(hashes) != len(starts):
        raise BundleError(f"{where}: refusing a damaged bundle: {name}: its parts do not make the whole")
    if len(starts) == 1:
        hashes = [entry.sha256]
    return [
        _Part(name, start, content[start : start + step], sha256)
        for start, sha256 in zip(starts, hashes, strict=True)
    ]
