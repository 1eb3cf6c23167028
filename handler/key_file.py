"""Keys in a file, for a server that other machines can reach; knows no sockets, and never writes."""

from __future__ import annotations

import json
import time
from pathlib import Path

from handler.errors import StartupError, Unauthorized
from handler.keys import KeyRecord, Refused, bearer_key, judge


class KeyFile:
    """The door of such a server: whose key is it? The file is read again whenever it has changed."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises: StartupError with one line when it cannot be used."""
        self._path = path
        try:
            self._stamp = self._look()
            self._records = read_key_file(path)
        except (OSError, ValueError) as error:
            raise StartupError(f"keys: {path}: {getattr(error, 'strerror', None) or error}") from error
        if not self._records:
            raise StartupError(f"keys: {path}: there is no key in it")

    def tenant(self, authorization: str | None) -> str:
        """Whose request it is. Raises: Unauthorized, which tells a typing error from all that is secret."""
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
        except (OSError, ValueError):
            return {}  # a file that cannot be read admits nobody
        return self._records

    def _look(self) -> tuple[int, int]:
        facts = self._path.stat()
        return facts.st_mtime_ns, facts.st_ino


def read_key_file(path: Path) -> dict[str, KeyRecord]:
    """Read `{"keys": [record, ...]}`. Raises: OSError, ValueError."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["keys"]
        records = [KeyRecord.from_row(row) for row in rows]
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError):
        raise ValueError("this is no file of keys; `python -m infra.keys` writes one") from None
    return {record.id: record for record in records}
