"""A checkpoint's `config.json`, read field by field so that a wrong one is named.

Owns the typing of fields. Does not know what any field means.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.errors import ExportError, UnsupportedFeature


class Config:
    """One `config.json`, or an object in it; every getter raises ExportError with the file and the field."""

    def __init__(self, fields: Mapping[str, Any], path: Path, within: str = "") -> None:
        self.fields = fields
        self.path = path
        self._within = within  # `field.` of the object this is

    @classmethod
    def load(cls, folder: Path) -> Config:
        """Read `config.json` of a checkpoint folder."""
        path = folder / "config.json"
        fields = read_json_object(path)
        if fields is None:
            raise ExportError(f"{path}: not found; a checkpoint is a Hugging Face model folder")
        return cls(fields, path)

    @property
    def architecture(self) -> str:
        """The one class name in `architectures`."""
        names = self.fields.get("architectures")
        if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
            raise ExportError(f"{self.path}: architectures: {names!r}, must be a list of one class name")
        return names[0]

    def integer(self, name: str, default: int | None = None, *, zero: bool = False) -> int:
        """A whole number above zero, or zero where it may be; null is the default."""
        value = self.fields.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or value < 0 or not (value or zero):
            allowed = "a whole number, 0 or more" if zero else "a whole number above 0"
            raise ExportError(f"{self.path}: {self._within}{name}: {value!r}, must be {allowed}")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A number above zero; null is none, as for transformers."""
        value = self.fields.get(name, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
            raise ExportError(f"{self.path}: {self._within}{name}: {value!r}, must be a number above 0")
        return float(value)

    def optional_number(self, name: str) -> float | None:
        """A number above zero, or null."""
        return None if self.fields.get(name) is None else self.number(name)

    def numbers(self, name: str) -> tuple[float, ...]:
        """A list of numbers above zero."""
        values = self.fields.get(name)
        if not isinstance(values, list) or not all(isinstance(x, int | float) and x > 0 for x in values):
            raise ExportError(f"{self.path}: {self._within}{name}: must be a list of numbers above 0")
        return tuple(map(float, values))

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self.fields.get(name, default)
        if not isinstance(value, bool):
            raise ExportError(f"{self.path}: {self._within}{name}: {value!r}, must be true or false")
        return value

    def only(self, name: str, allowed: tuple[Any, ...], default: Any) -> Any:
        """The value of a field of which the graph computes just some values.

        Raises: UnsupportedFeature naming the field, its value and what is allowed.
        """
        value = self.fields.get(name, default)
        if value not in allowed:
            choices = " or ".join(json.dumps(choice) for choice in allowed)
            found = json.dumps(value)
            raise UnsupportedFeature(
                f"{self.path}: {name}: {found} is not supported for {self.architecture}, only {choices}"
            )
        return value


def read_json_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file, None where the file is absent.

    Raises: ExportError when it is not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ExportError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(value, dict):
        raise ExportError(f"{path}: must hold one JSON object")
    return value
