"""A model from the hub, over HTTP: pinned to a commit, fetched once, and refused in words that help."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.contract.export.hub import COMMIT, Hub, running

REPO = "someone/some-model"
RESOLVE = """
import sys
from export.errors import ExportError
from export.source import resolve
try:
    found = resolve(*sys.argv[1:])
    print(found.id, found.revision, found.license, found.weights().read("w").tolist())
except ExportError as error:
    print(error)
"""

Resolve = Callable[..., str]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A repository with what is wanted of it and what is not."""
    files = tmp_path / "repository"
    files.mkdir()
    save_file({"w": torch.ones(4)}, files / "model.safetensors")
    (files / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    (files / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (files / "pytorch_model.bin").write_bytes(b"a pickle: never fetched")
    with running(REPO, files) as found:
        yield found


@pytest.fixture
def resolve(hub: Hub, tmp_path: Path) -> Resolve:
    """What resolving a source says, in a process of its own: huggingface_hub reads its endpoint at import."""
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    for name in ("HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_TOKEN"):
        environment.pop(name, None)

    def told(*arguments: str, **settings: str) -> str:
        command = [sys.executable, "-c", RESOLVE, *arguments]
        asked = {**environment, **settings}
        ended = subprocess.run(command, env=asked, capture_output=True, text=True, timeout=120)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.strip()

    return told


@pytest.mark.parametrize("revision", [(), ("dev",)])
def test_a_model_is_pinned_to_the_commit_and_fetched_once(
    revision: tuple[str, ...], hub: Hub, resolve: Resolve
) -> None:
    """A branch is resolved to its commit; weights that hold code are left where they are."""
    assert resolve(REPO, *revision) == f"{REPO} {COMMIT} apache-2.0 [1.0, 1.0, 1.0, 1.0]"
    assert sorted(hub.fetched) == ["README.md", "config.json", "model.safetensors"]
    resolve(REPO, COMMIT)
    assert len(hub.fetched) == 3


NEEDLESS = (
    *("consolidated.safetensors", "model.fp16.safetensors", "notes.txt", "onnx/config.json"),
    *("checkpoint-500/model.safetensors", "checkpoint-500/optimizer.safetensors", "data/train.json"),
)


@pytest.mark.parametrize("sharded", [False, True])
def test_of_a_large_repository_only_what_is_read_is_fetched(
    sharded: bool, hub: Hub, resolve: Resolve
) -> None:
    """Not other precisions, nor what lies in folders; of several shards those of the index."""
    for name in NEEDLESS:
        (hub.folder / name).parent.mkdir(exist_ok=True)
        (hub.folder / name).write_text("{}")
    wanted = ["README.md", "config.json", "model.safetensors"]
    if sharded:
        (hub.folder / "model.safetensors").rename(hub.folder / "weights-1.safetensors")
        index = {"weight_map": {"w": "weights-1.safetensors"}}
        (hub.folder / "model.safetensors.index.json").write_text(json.dumps(index))
        wanted = [*wanted, "model.safetensors.index.json", "weights-1.safetensors"]
        wanted.remove("model.safetensors")
    assert resolve(REPO).endswith("[1.0, 1.0, 1.0, 1.0]")
    assert sorted(hub.fetched) == wanted


AWAY = [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}]  # nothing listens at `discard`


@pytest.mark.parametrize("away", AWAY, ids=["offline", "out of reach"])
def test_a_model_in_the_cache_needs_no_hub(away: dict[str, str], resolve: Resolve) -> None:
    """By its branch or its commit, pinned as before; another branch was never fetched."""
    told = resolve(REPO)
    assert resolve(REPO, **away) == told
    assert resolve(REPO, COMMIT, **away) == told
    assert resolve(REPO, "dev", **away).startswith(f"{REPO}: no such folder here, and the hub cannot be rea")


def test_a_part_of_a_model_in_the_cache_is_none(resolve: Resolve, tmp_path: Path) -> None:
    """A download that broke off leaves no weights, and the hub is what is missing."""
    resolve(REPO)
    (weights,) = (tmp_path / "home").rglob("model.safetensors")
    weights.unlink()
    told = resolve(REPO, HF_HUB_OFFLINE="1")
    assert told.startswith(f"{REPO}: no such folder here, and the hub cannot be reached: ")


def test_a_model_of_more_than_text_is_refused_before_its_weights_are_fetched(
    hub: Hub, resolve: Resolve
) -> None:
    """By its architecture's name: its sizes are in a config of its text's own."""
    config = {"architectures": ["Gemma3ForConditionalGeneration"], "text_config": {"vocab_size": 262208}}
    (hub.folder / "config.json").write_text(json.dumps(config))
    assert "architectures: Gemma3ForConditionalGeneration is not a model of text" in resolve(REPO)
    assert hub.fetched == ["config.json"]


def test_what_the_hub_does_not_have_is_told_apart(resolve: Resolve) -> None:
    """Another model's name, and a branch that is not there."""
    nobody = "nobody/nothing: no such folder here and no such public model on the hub"
    assert resolve("nobody/nothing") == nobody
    assert resolve(REPO, "v9") == f"{REPO}: the hub has no revision 'v9'"


def test_a_gated_model_is_told_as_one(hub: Hub, resolve: Resolve) -> None:
    """It exists: what is missing is the consent on its page and a token."""
    hub.gated = True
    told = f"{REPO}: the model is gated; accept its terms on {hub.url}/{REPO} and set HF_TOKEN"
    assert resolve(REPO).startswith(told)


def test_a_hub_that_fails_is_not_a_model_that_is_missing(hub: Hub, resolve: Resolve) -> None:
    """One line, about the connection."""
    hub.broken = True
    told = resolve(REPO)
    assert told.startswith(f"{REPO}: no such folder here, and the hub cannot be reached: ")
    assert len(told.splitlines()) == 1
