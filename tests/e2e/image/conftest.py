"""The image of infra/image/Dockerfile as a folder, and its containers as processes."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.dynamodb import free_port
from tests.e2e.image.dockerfile import Image

START_TIMEOUT_S = 60.0
READY = "Dormouse is awake: "
StartContainer = Callable[..., "Container"]


@dataclass
class Container:
    """The image's entry point, started as a platform starts it."""

    process: subprocess.Popen[str]
    port: int
    environment: dict[str, str]

    @property
    def url(self) -> str:
        """Where it is asked; a platform does so from another machine."""
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> int:
        """As platforms do; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@pytest.fixture(scope="session")
def image(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The image, with the tiny model in it."""
    return Image(tmp_path_factory.mktemp("image"), {"BUNDLE": str(bundle)}).make()


@pytest.fixture
def start_container(image: Image, tmp_path: Path) -> Iterator[StartContainer]:
    """`start_container("serve", PORT="8081")`: a container that serves; nothing of ours is in it."""
    started: list[Container] = []

    def start(*arguments: str, **environment: str) -> Container:
        port = int(environment.setdefault("PORT", str(free_port())))
        kept = {"PATH": os.environ["PATH"], "DORMOUSE_SESSIONS": str(tmp_path / "sessions")}
        whole = {**kept, **image.environment, **kept, **environment}
        process = subprocess.Popen(
            image.command(*arguments), cwd=image.folder, env=whole, stdout=subprocess.PIPE, text=True
        )
        started.append(Container(process, port, whole))
        assert process.stdout is not None
        give_up_s = time.monotonic() + START_TIMEOUT_S
        while not select.select([process.stdout], [], [], 0.2)[0]:
            assert time.monotonic() < give_up_s
        assert process.stdout.readline().startswith(f"{READY}http://0.0.0.0:{port} ")
        return started[-1]

    yield start
    for container in started:
        container.process.kill()
        container.process.wait()
