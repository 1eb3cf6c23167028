"""Keys in a file, for a server that other machines can reach; knows no sockets, and never writes."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

from handler.errors import StartupError, Unauthorized, Unavailable
from handler.keys import KeyRecord, Refused, bearer_key, judge

log = logging.getLogger(__name__)


class KeyFile:
    """The door of such a server: whose key is it? The file is read again whenever it has changed."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises: StartupError with one line when it cannot be used."""
        self._path = path
        self._problem = ""
        try:
            self._stamp = self._look()
            self._records = read_key_file(path)
        except (OSError, ValueError) as error:
            raise StartupError(f"keys: {path}: {_reason(error)}") from error
        if not self._records:
            raise StartupError(f"keys: {path}: there is no key in it")

    def tenant(self, authorization: str | None) -> str:
        """Whose request it is.

        Raises: Unauthorized, which tells a typing error from all that is secret; Unavailable while the file
        cannot be read, when nobody comes in and nobody is told that a key is wrong.
        """
        try:
            key = bearer_key(authorization)
        except ValueError as error:
            raise Unauthorized(str(error)) from None
        try:
            return judge(key, self._current().get, time.time()).tenant
        except Refused:
            raise Unauthorized("The API key is not valid.") from None

    def _current(self) -> dict[str, KeyRecord]:
        try:
            stamp = self._look()
            if stamp != self._stamp:
                self._records, self._stamp = read_key_file(self._path), stamp
        except (OSError, ValueError) as error:
            if self._problem != _reason(error):
                self._problem = _reason(error)
                log.error("nobody is let in: keys: %s: %s", self._path, self._problem)
            raise Unavailable("Keys cannot be checked right now.") from error
        self._problem = ""
        return self._records

    def _look(self) -> tuple[int, int]:
        facts = self._path.stat()
        return facts.st_mtime_ns, facts.st_ino


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def read_key_file(path: Path) -> dict[str, KeyRecord]:
    """Read `{"keys": [record, ...]}`. Raises: OSError, ValueError."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["keys"]
        records = [KeyRecord.from_row(row) for row in rows]
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError):
        raise ValueError("this is no file of keys; `python -m infra.keys` writes one") from None
    return {record.id: record for record in records}
