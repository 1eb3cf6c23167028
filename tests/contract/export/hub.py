"""A model hub on loopback that speaks as much of Hugging Face's protocol as a download needs.

Source: https://huggingface.co/docs/hub/api and the headers that huggingface_hub reads (`X-Repo-Commit`,
`X-Error-Code`). Knows nothing of models.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.loopback import Quiet, serving

COMMIT = "5" * 40
BRANCHES = ("main", "dev", COMMIT)


class Hub:
    """Serves the files of one folder as one repository; `gated` and `broken` spoil the files alone."""

    def __init__(self, repo: str, folder: Path) -> None:
        self.repo, self.folder = repo, folder
        self.gated, self.broken = False, False
        self.fetched: list[str] = []
        self.url = ""  # where it is served


@contextmanager
def running(repo: str, folder: Path) -> Iterator[Hub]:
    """The hub, while it is served."""
    hub = Hub(repo, folder)
    with serving(type("BoundHub", (_Requests,), {"hub": hub})) as address:
        hub.url = f"http://{address}"
        yield hub


class _Requests(Quiet):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        api, files = f"/api/models/{self.hub.repo}", f"/{self.hub.repo}/resolve/{COMMIT}/"
        path = self.path.partition("?")[0]
        if path == api or path.startswith(f"{api}/revision/"):
            revision = path.removeprefix(api).removeprefix("/revision/") or "main"
            return self.listing() if revision in BRANCHES else self.refuse(404, "RevisionNotFound")
        if not path.startswith(files):
            return self.refuse(404, "RepoNotFound")
        if self.hub.gated:
            return self.refuse(403, "GatedRepo")
        if self.hub.broken:
            return self.refuse(500)
        return self.file(path.removeprefix(files))

    def listing(self) -> None:
        files = (file for file in self.hub.folder.rglob("*") if file.is_file())
        names = sorted(file.relative_to(self.hub.folder).as_posix() for file in files)
        told = {
            "id": self.hub.repo,
            "sha": COMMIT,
            "private": False,
            "siblings": [{"rfilename": n} for n in names],
        }
        self.reply(200, json.dumps(told).encode(), {"Content-Type": "application/json"})

    def file(self, name: str) -> None:
        content = (self.hub.folder / name).read_bytes()
        if self.command == "GET":
            self.hub.fetched.append(name)
        etag = hashlib.sha256(content).hexdigest()
        self.reply(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})

    def refuse(self, status: int, code: str = "") -> None:
        self.reply(status, b"", {"X-Error-Code": code} if code else {})

    def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
