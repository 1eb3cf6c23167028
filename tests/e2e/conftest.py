"""A real server as a real process: `python -m handler.local` on a free port of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import openai
import pytest

from tests.e2e.server import Server

StartServer = Callable[..., Server]


@pytest.fixture(scope="session")
def bundle(tiny_bundle: Callable[..., Path]) -> Path:
    """A tiny model with random weights: it talks on for as long as it may, which cuts and hang-ups need."""
    return tiny_bundle()


@pytest.fixture(scope="session")
def running(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that leave it as it was, but for the conversations in it."""
    folder = tmp_path_factory.mktemp("server")
    with Server(bundle, folder / "sessions.sqlite3", folder / "log") as server:
        yield server


@pytest.fixture(scope="session")
def base_url(running: Server) -> str:
    """Its address, without a slash at the end."""
    return running.url


@pytest.fixture(scope="session")
def house_server(house_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of the embedded model, and of no other."""
    folder = tmp_path_factory.mktemp("house-server")
    with Server(house_bundle, folder / "sessions.sqlite3", folder / "log") as server:
        yield server.url


@pytest.fixture
def start_server(bundle: Path, tmp_path: Path) -> Iterator[StartServer]:
    """`start_server(**environment)`: a server for one test; the sessions file stays when one follows
    another."""
    started: list[Server] = []

    def start(**environment: str) -> Server:
        server = Server(bundle, tmp_path / "sessions.sqlite3", tmp_path / "log", environment)
        started.append(server)
        return server.__enter__()

    yield start
    for server in started:
        server.__exit__(None, None, None)


@pytest.fixture
def client(running: Server) -> openai.OpenAI:
    """OpenAI's own client, which does not repeat what failed."""
    return running.client()


@pytest.fixture(scope="session")
def model(running: Server) -> str:
    """The name of the one model."""
    return running.client().models.list().data[0].id
