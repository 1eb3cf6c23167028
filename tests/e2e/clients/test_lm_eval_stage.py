"""`python -m export.lm_eval`: a bundle served and evaluated on a local task, in one command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from export.lm_eval import TASKS, evaluate, main
from handler.engine import load


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
