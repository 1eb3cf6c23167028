"""infra/image/Dockerfile, read and carried out without a container engine: what it copies, runs and starts.

Knows the few instructions that the file uses, and stops at any other. The image's root is a folder, and its
Python is this machine's own of the same version.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.stack import PROJECT

DOCKERFILE = PROJECT / "infra/image/Dockerfile"
PYTHON313 = PROJECT / ".venv/lambda/bin/python"


def instructions() -> list[tuple[str, str]]:
    """All of them in order, comments and line breaks gone."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [
        (word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines()) if word
    ]


@dataclass
class Image:
    """What has come of the instructions so far."""

    root: Path
    build: Mapping[str, str]
    """Build arguments, in place of their defaults."""
    base: str = ""
    workdir: str = "/"
    user: str = "root"
    environment: dict[str, str] = field(default_factory=dict)
    entrypoint: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)
    arguments: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where processes are started."""
        return self.root / self.workdir.lstrip("/")

    def make(self, *, is_dry: bool = False) -> Image:
        """Carry out the Dockerfile; dry: without files."""
        for word, rest in instructions():
            text = re.sub(r"\$\{(\w+)\}", lambda found: self.arguments[found[1]], rest)
            if word in ("COPY", "RUN"):
                if not is_dry:
                    getattr(self, f"_{word.lower()}")(text)
            else:
                getattr(self, f"_{word.lower()}")(text)
        return self

    def command(self, *arguments: str) -> list[str]:
        """What a platform starts; there is no CMD, so nothing else comes to it."""
        return self._with_python([*self.entrypoint, *arguments])

    def probe(self) -> list[str]:
        """What a container engine asks for the container's health."""
        return self._with_python(self.healthcheck)

    def _from(self, rest: str) -> None:
        self.base = rest

    def _workdir(self, rest: str) -> None:
        self.workdir = rest

    def _arg(self, rest: str) -> None:
        name, _, default = rest.partition("=")
        self.arguments[name] = self.build.get(name, default)

    def _env(self, rest: str) -> None:
        self.environment |= dict(pair.split("=", 1) for pair in shlex.split(rest))

    def _user(self, rest: str) -> None:
        self.user = rest

    def _expose(self, rest: str) -> None:
        assert rest.isdigit()

    def _entrypoint(self, rest: str) -> None:
        self.entrypoint = json.loads(rest)

    def _healthcheck(self, rest: str) -> None:
        self.healthcheck = json.loads(rest.partition(" CMD ")[2])

    def _copy(self, rest: str) -> None:
        source, target = rest.split()
        self.folder.mkdir(parents=True, exist_ok=True)
        found = PROJECT / source
        if found.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(found, self.folder / target, dirs_exist_ok=True, ignore=ignored)
        else:
            shutil.copy(found, self.folder / target)

    def _run(self, rest: str) -> None:
        subprocess.run(self._with_python(shlex.split(rest)), cwd=self.folder, check=True)

    @staticmethod
    def _with_python(command: list[str]) -> list[str]:
        assert command[0] == "python"
        return [os.fspath(PYTHON313), *command[1:]]
