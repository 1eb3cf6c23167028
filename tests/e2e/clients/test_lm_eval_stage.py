"""`python -m export.lm_eval`: a bundle served and evaluated on a local task, in one command."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from export.errors import ExportError
from export.lm_eval import TASKS, evaluate, main
from handler.engine import load
from handler.engine.engine import Engine
from tests.checkpoints import with_bos
from tests.conftest import TinyBundle


def test_a_bundle_is_evaluated_as_it_is_served(
    house_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The accuracy printed is the one that the engine's own logits give, with the bundle's own tokenizer."""
    assert main([str(house_bundle), "--task", "dormouse_everyday"]) == 0
    printed = json.loads(capsys.readouterr().out)
    engine = load(house_bundle)
    right = 0
    documents = [json.loads(line) for line in (TASKS / "everyday.jsonl").read_text().splitlines()]
    for document in documents:
        context = list(engine.tokenizer.encode(document["question"]).ids)
        scores = []
        for choice in document["choices"]:
            whole = list(engine.tokenizer.encode(f"{document['question']} {choice}").ids)
            tokens = list(engine.score(whole))[len(context) :]
            scores.append(sum(token.logprob or 0.0 for token in tokens))
        right += int(np.argmax(scores)) == document["answer"]
    assert printed["acc,none"] == pytest.approx(right / len(documents))


TEXTS = Path(__file__).parent / "tasks"


def score(engine: Engine, context: list[int], continuation: list[int]) -> float:
    """The log-likelihood of ids after others."""
    tokens = list(engine.score([*context, *continuation]))[len(context) :]
    return sum(token.logprob or 0.0 for token in tokens)


def test_texts_begin_with_bos_where_the_model_wants_it(
    tiny_bundle: TinyBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, whether the harness scores choices or whole texts, which it cannot together; of a group there are
    the results of each task.

    A proxy to the world is not asked for this machine.
    """
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    bundle = with_bos(tiny_bundle("llama", "fp32"), tmp_path / "bundle")
    engine = load(bundle)
    assert engine.prompt.encode_text("") == [1]
    right = 0
    for line in (TASKS / "everyday.jsonl").read_text(encoding="utf-8").splitlines():
        document = json.loads(line)
        context = engine.prompt.encode_text(document["question"])
        wholes = [engine.prompt.encode_text(f"{document['question']} {each}") for each in document["choices"]]
        scores = [score(engine, context, whole[len(context) :]) for whole in wholes]
        right += int(np.argmax(scores)) == document["answer"]
    found = evaluate(bundle, "dormouse_everyday")
    assert found["acc,none"] == pytest.approx(right / 12)

    texts = [json.loads(line)["text"] for line in (TEXTS / "texts.jsonl").read_text("utf-8").splitlines()]
    nats = -sum(score(engine, [1], engine.prompt.encode_text(text)[1:]) for text in texts)
    size = sum(len(text.encode()) for text in texts)
    with pytest.raises(ExportError, match="--task dormouse_texts,dormouse_choice: some read texts as wholes"):
        evaluate(bundle, "dormouse_texts,dormouse_choice", TEXTS)
    tasks = tmp_path / "tasks"
    shutil.copytree(TEXTS, tasks)
    (tasks / "group.yaml").write_text("group: texts\ntask: [again, dormouse_texts]\n")
    (tasks / "again.yaml").write_text("include: texts.yaml\ntask: again\n")
    found = evaluate(bundle, "texts", tasks)
    assert found["again"]["bits_per_byte,none"] == found["dormouse_texts"]["bits_per_byte,none"]
    assert found["again"]["bits_per_byte,none"] == pytest.approx(nats / size / math.log(2), abs=1e-4)


def test_what_is_wrong_is_said_in_one_line(
    house_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing bundle, a missing harness and an unknown task are each one line that says so."""
    assert main([str(tmp_path), "--task", "dormouse_everyday"]) == 1
    assert main([str(house_bundle), "--task", "no_such_task"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "bundle.json" in lines[0]
    assert lines[1].startswith("export.lm_eval: lm_eval: ")
    with pytest.raises(Exception, match=r"nowhere: not found; `make \.venv/clients/\.made` installs"):
        evaluate(house_bundle, "dormouse_everyday", harness=tmp_path / "nowhere")
