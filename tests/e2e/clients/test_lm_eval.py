"""lm-evaluation-harness: its `local-completions` against the server agrees with the engine asked directly."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handler.engine import load
from handler.engine.engine import Engine
from tests.e2e.clients.conftest import RunClient

TASKS = Path(__file__).parent / "tasks"
TOKENIZER = "models/house/checkpoint"
ROUNDING = 1e-4  # of a sum of float32 log-probabilities


@pytest.fixture(scope="module")
def engine(house_bundle: Path) -> Engine:
    return load(house_bundle)


def lines(name: str) -> list[Any]:
    """The documents of a task."""
    return [json.loads(line) for line in (TASKS / name).read_text(encoding="utf-8").splitlines()]


def log_likelihood(engine: Engine, context: list[int], continuation: list[int]) -> tuple[float, bool]:
    """Sum the log-probabilities of ids after others, from the bare logits; was each the likeliest?"""
    ids = [*context, *continuation]
    logits = engine.model.forward(ids, engine.model.new_cache(), rows=len(ids)).astype(np.float64)
    total, greedy = 0.0, True
    for row, id_ in zip(logits[len(context) - 1 : -1], continuation, strict=True):
        total += row[id_] - np.logaddexp.reduce(row)
        greedy = greedy and int(row.argmax()) == id_
    return total, greedy


def evaluate(
    run_client: RunClient, url: str, out: Path, task: str, **options: Any
) -> tuple[dict[str, Any], list[Any]]:
    """Run one task; give its results and its samples in the order of its documents."""
    told = {"model": "dormouse-house", "base_url": f"{url}/v1/completions", "tokenizer": TOKENIZER}
    batch = options.pop("batch_size", 1)
    told |= {"max_length": 1024, **options}
    run_client(
        *("lm_eval", "run", "--model", "local-completions", "--tasks", task, "--include_path", str(TASKS)),
        *("--model_args", ",".join(f"{name}={value}" for name, value in told.items())),
        *("--batch_size", str(batch), "--log_samples", "--output_path", str(out)),
    )
    (results,), (samples,) = out.rglob("results_*.json"), out.rglob("samples_*.jsonl")
    rows = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
    return json.loads(results.read_text())["results"][task], sorted(rows, key=lambda row: row["doc_id"])


@pytest.mark.parametrize(
    "options",
    [
        {"tokenized_requests": True},
        {"tokenized_requests": True, "batch_size": 4},
        {"tokenized_requests": True, "num_concurrent": 3},
        {"tokenized_requests": False},
    ],
    ids=["ids", "batches", "at-once", "texts"],
)
def test_multiple_choice(
    run_client: RunClient, house_server: str, engine: Engine, tmp_path: Path, options: dict[str, Any]
) -> None:
    """Every log-likelihood, and therefore every choice, is the one that the logits themselves give."""
    results, samples = evaluate(run_client, house_server, tmp_path / "out", "dormouse_choice", **options)
    right = 0
    for document, sample in zip(lines("questions.jsonl"), samples, strict=True):
        context = list(engine.tokenizer.encode(document["question"]).ids)
        expected = []
        for choice in document["choices"]:
            whole = list(engine.tokenizer.encode(f"{document['question']} {choice}").ids)
            expected.append(log_likelihood(engine, context, whole[len(context) :]))
        found = [(float(total), greedy in (True, "True")) for ((total, greedy),) in sample["resps"]]
        assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
        assert [total for total, _ in found] == pytest.approx([total for total, _ in expected], abs=ROUNDING)
        right += int(np.argmax([total for total, _ in expected])) == document["answer"]
    assert results["acc,none"] == pytest.approx(right / len(samples))


def test_perplexity(run_client: RunClient, house_server: str, engine: Engine, tmp_path: Path) -> None:
    """Texts read as a whole, behind the end-of-sequence id that the harness sends as an id, agree as well."""
    results, _ = evaluate(run_client, house_server, tmp_path / "out", "dormouse_texts")
    texts = [document["text"] for document in lines("texts.jsonl")]
    prefix = [engine.manifest.tokens.eos[0]]
    total = sum(log_likelihood(engine, prefix, list(engine.tokenizer.encode(text).ids))[0] for text in texts)
    size = sum(len(text.encode()) for text in texts)
    assert results["bits_per_byte,none"] == pytest.approx(-total / size / math.log(2), abs=ROUNDING)
