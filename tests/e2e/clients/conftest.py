"""Programs that other people wrote, unchanged, in an environment of their own: `.venv/clients`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CLIENTS = ROOT / ".venv" / "clients" / "bin"
TIMEOUT_S = 300

RunClient = Callable[..., str]


def client_environment(home: Path) -> dict[str, str]:
    """Variables for those programs: a home of their own, and nothing to be fetched over the network."""
    return {
        "PATH": f"{CLIENTS}:{os.environ['PATH']}",
        "HOME": str(home),
        "LLM_USER_PATH": str(home / "llm"),
        "HF_HOME": str(home / "hf"),
        "HF_HUB_OFFLINE": "1",
        "OPENAI_API_KEY": "not-needed-here",
    }


@pytest.fixture
def run_client(house_server: str, tmp_path: Path) -> RunClient:
    """`run_client("llm", ...)`: run a program of that environment to its end, and give what it printed."""
    environment = {**client_environment(tmp_path), "DORMOUSE_URL": house_server}

    def run(program: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(CLIENTS / program), *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        assert done.returncode == 0, done.stderr[-5000:]
        return done.stdout

    return run
