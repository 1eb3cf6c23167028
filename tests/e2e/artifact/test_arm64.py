"""The arm64 artifact chats, under user-mode emulation, and what it says is what it says on this machine.

`make arm64` runs this file alone, with any bundle, and prints what was measured.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.arm64 import missing
from tests.e2e.artifact.conftest import PYTHON313, Deployment, running
from tests.stack import PROJECT, sample_event

PYTHON = PROJECT / ".venv/arm64/bin/python"
SAYINGS = ("Hello! What is Dormouse?", "你好，你叫什么名字？", "My name is Ada. What is my name?")
APART = 0.7
"""A logit may differ so much between instruction sets: docs/LOG.md, 2026-11-25, has up to 0.62."""


@pytest.fixture
def chats(
    artifact: Path, arm64_artifact: Path, house_bundle: Path, tmp_path: Path
) -> Callable[[str], list[dict[str, Any]]]:
    """Start the artifact of an architecture, and have the answers to all sayings, greedy."""
    bundle = Path(os.environ.get("ARM64_BUNDLE", house_bundle)).resolve()
    model = json.loads((bundle / "bundle.json").read_text())["name"]

    def get(arch: str) -> list[dict[str, Any]]:
        folder = {"x86_64": artifact, "arm64": arm64_artifact}[arch]
        variables = {
            "AWS_LAMBDA_EXEC_WRAPPER": str(folder / "handler/runtime.sh"),
            "DORMOUSE_BUNDLE": str(bundle),
            "DORMOUSE_SESSIONS": str(tmp_path / "sessions.sqlite3"),
        }
        deployment = Deployment(folder, model, variables, PYTHON if arch == "arm64" else PYTHON313)
        log = tmp_path / f"log-{arch}"
        with running(deployment, log) as (api, process):
            while not api.asked.wait(0.1):
                assert process.poll() is None, log.read_text()
            return [json.loads(api.invoke(chat(model, said)).payload) for said in SAYINGS]

    return get


def chat(model: str, said: str) -> dict[str, Any]:
    """The sample of a chat with another text, each token with its best rivals."""
    event = sample_event("chat", model)
    asked = {"messages": [{"role": "user", "content": said}], "temperature": 0, "max_tokens": 48}
    event["body"] = json.dumps({**json.loads(event["body"]), **asked, "logprobs": True, "top_logprobs": 20})
    return event


def tokens(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The tokens with their log-probabilities."""
    found: list[dict[str, Any]] = answer["choices"][0]["logprobs"]["content"]
    return found


def compare(here: list[dict[str, Any]], there: list[dict[str, Any]]) -> dict[str, Any]:
    """Where two answers part (None: nowhere), and how far apart the same tokens' log-probabilities are."""
    pairs = list(zip(here, there, strict=False))
    parted = next((at for at, (a, b) in enumerate(pairs) if a["token"] != b["token"]), None)
    if parted is None and len(here) != len(there):
        parted = len(pairs)
    differences = [abs(a["logprob"] - b["logprob"]) for a, b in pairs[:parted]]
    found = {"tokens": len(here), "parted_at": parted, "largest": round(max(differences, default=0.0), 4)}
    if parted is not None and parted < len(pairs):
        rivals = {rival["token"]: rival["logprob"] for rival in here[parted]["top_logprobs"]}
        gap = here[parted]["logprob"] - rivals.get(there[parted]["token"], float("-inf"))
        found["gap"] = round(gap, 4)
    return found


@pytest.mark.skipif(not PYTHON.exists(), reason=f"no emulated arm64 here; `make arm64` lacks {missing()}")
def test_arm64_says_the_same(chats: Callable[[str], list[dict[str, Any]]]) -> None:
    """Greedy tokens are equal, or part where two were about as likely; each answer says where it was made."""
    here = chats("x86_64")
    begun_s = time.monotonic()
    there = chats("arm64")
    receipts = [[each["dormouse"]["receipt"] for each in answers] for answers in (here, there)]
    assert {receipt["instruction_set"] for receipt in receipts[1]} == {"aarch64 dotprod"}
    assert all(receipt["exact"] for receipt in receipts[1])
    compared = [compare(tokens(a), tokens(b)) for a, b in zip(here, there, strict=True)]
    facts = {"took_s": round(time.monotonic() - begun_s, 1), "init_ms": receipts[1][0]["init_ms"]}
    print(json.dumps({"here": receipts[0][0]["instruction_set"], **facts, "compared": compared}))
    assert all(each["tokens"] for each in compared)
    assert max(each["largest"] for each in compared) < APART
    assert all(each.get("gap", 0.0) < APART for each in compared)
