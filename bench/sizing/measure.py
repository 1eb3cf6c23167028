"""One bundle at one memory size: starts from nothing, and warm answers, by the whole handler.

Owns the rounds; shares and processes are given. A figure is the median of its rounds; all samples are kept.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.passages import PASSAGE
from bench.process import WorkerProcess
from bench.sizing.share import quota, vcpus
from handler.settings import Settings

STARTS, ANSWERS = 3, 4
PROMPT_TOKENS, OUTPUT_TOKENS = 128, 64
TIMEOUT_S = 120.0
WORDS = PASSAGE.split()


def measure(bundle: Path, memory_mib: int, threads: int) -> dict[str, Any]:
    """All figures of one bundle at one size; threads of 0 are as many as the function would take."""
    threads = threads or Settings(memory_mib=memory_mib).model_threads or 1
    with quota(vcpus(memory_mib)) as processes, tempfile.TemporaryDirectory() as folder:
        starts = []
        for round_ in range(-1, STARTS):  # round -1 warms the page cache
            worker = _worker(processes, bundle, Path(folder), threads)
            try:
                taken = worker.ask("first", timeout_s=TIMEOUT_S, text="Hello!", prompt_tokens=0)
                if round_ >= 0:
                    starts.append((taken["stamps_s"][0] - worker.started_s) * 1000)
                if round_ == STARTS - 1:
                    answers = _answers(worker)
                    peak_bytes = worker.ask("memory", timeout_s=TIMEOUT_S)["peak_rss_bytes"]
            finally:
                worker.close()
    return {
        "memory_mib": memory_mib,
        "threads": threads,
        "start_ms": round(statistics.median(starts), 1),
        **{name: round(statistics.median(each[name] for each in answers), 2) for name in answers[0]},
        "peak_mib": round(peak_bytes / 2**20, 1),
        "samples": {"start_ms": starts, "answers": answers},
    }


def facts(bundle: Path) -> dict[str, Any]:
    """Which model this is."""
    manifest = json.loads((bundle / "bundle.json").read_text())
    return {
        "parameters": manifest["dims"]["parameters"],
        "bits": manifest["quantization"].get("bits"),
        "created": manifest["created"],
        "size_mib": round(
            sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file()) / 2**20, 1
        ),
    }


def _worker(processes: Path, bundle: Path, folder: Path, threads: int) -> WorkerProcess:
    inside = f'echo $$ > "{processes}" && exec "$@"'
    command = ["sh", "-c", inside, "sh", sys.executable, "-m", "bench.workers.handler"]
    worker = WorkerProcess(command, log=folder / "log")
    worker.ask(
        "load",
        timeout_s=TIMEOUT_S,
        model=str(bundle),
        threads=threads,
        context_tokens=0,
        options={"sessions": str(folder / "sessions.sqlite3")},
    )
    return worker


def _answers(worker: WorkerProcess) -> list[dict[str, float]]:
    words = 40
    found = []
    for round_ in range(-1, ANSWERS):  # round -1 tells how many tokens a word is
        text = " ".join(random.Random(round_).choices(WORDS, k=words))
        took = worker.ask("answer_words", timeout_s=TIMEOUT_S, text=text, tokens=OUTPUT_TOKENS)
        receipt = took["receipt"]
        if round_ < 0:
            words = max(1, round(words * PROMPT_TOKENS / receipt["prompt_tokens"]))
            continue
        fresh = receipt["prompt_tokens"] - receipt["cached_tokens"]
        beside_ms = took["whole_s"] * 1000 - receipt["prefill_ms"] - receipt["decode_ms"]
        found.append(
            {
                "prompt_tokens": receipt["prompt_tokens"],
                "output_tokens": receipt["output_tokens"],
                "first_token_ms": took["first_s"] * 1000,
                "prefill_tokens_per_s": fresh / receipt["prefill_ms"] * 1000,
                "decode_tokens_per_s": receipt["tokens_per_s"] or 0.0,
                "beside_ms": max(0.0, beside_ms),
            }
        )
    return found
