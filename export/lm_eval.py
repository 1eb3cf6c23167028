"""`python -m export.lm_eval BUNDLE --task NAME`: lm-evaluation-harness against the bundle as it is served.

Owns the server's and the harness's processes, and what the harness has to be told: a tokenizer in Hugging
Face's form, made of the bundle's own, and whether texts begin with bos, which it leaves away unless told. The
harness lives in an environment of its own (`make .venv/clients/.made`) and reads task files from a folder;
nothing is fetched. Knows no measure, and of a task only whether it reads texts as wholes.

Source: https://github.com/EleutherAI/lm-evaluation-harness/blob/main/docs/API_guide.md (local-completions)
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from export.command import run
from export.errors import ExportError
from export.lm_eval_tasks import read_wholes
from handler.engine.bundle import TOKENIZER_FILE, Manifest, read_manifest

ROOT = Path(__file__).parents[1]
HARNESS = ROOT / ".venv" / "clients" / "bin" / "lm_eval"
TASKS = Path(__file__).with_name("tasks")
READY = "Dormouse is awake: "


def evaluate(bundle: Path, task: str, tasks: Path = TASKS, harness: Path = HARNESS) -> dict[str, Any]:
    """The harness's results of one task from the folder `tasks`, by name of the measure; of several, or of a
    group, by task.

    Raises: ExportError when the harness is missing, the server does not start or the task fails; BundleError.
    """
    if not harness.is_file():
        raise ExportError(f"{harness}: not found; `make .venv/clients/.made` installs the harness")
    manifest = read_manifest(bundle)
    begins, wholes = _begins_texts(bundle, manifest), read_wholes(task, tasks)
    if begins and len(wholes) > 1:
        raise ExportError(
            f"--task {task}: some read texts as wholes, which have to be asked for by themselves"
        )
    with tempfile.TemporaryDirectory(prefix="dormouse-lm-eval-") as scratch:
        folder = Path(scratch)
        tokenizer = write_tokenizer(bundle, manifest, folder / "tokenizer")
        with _served(bundle, folder) as url:
            told = {
                "model": manifest.name,
                "base_url": f"{url}/v1/completions",
                "tokenizer": tokenizer,
                "max_length": manifest.context_tokens,
                "add_bos_token": begins and True not in wholes,  # the harness puts bos before wholes
            }
            command = [str(harness), "run", "--model", "local-completions", "--tasks", task]
            command += ["--include_path", str(tasks), "--output_path", str(folder / "out")]
            command += ["--model_args", ",".join(f"{name}={value}" for name, value in told.items())]
            _run(command, folder)
        (results,) = (folder / "out").rglob("results_*.json")
        found: dict[str, dict[str, Any]] = json.loads(results.read_text(encoding="utf-8"))["results"]
    return found[task] if set(found) == {task} else found


def write_tokenizer(bundle: Path, manifest: Manifest, folder: Path) -> Path:
    """The bundle's tokenizer in a folder that transformers reads; its bos and its end are the bundle's."""
    content = (bundle / TOKENIZER_FILE).read_text(encoding="utf-8")
    added = {token["id"]: token["content"] for token in json.loads(content)["added_tokens"]}
    ends = [added[id_] for id_ in manifest.tokens.eos if id_ in added]
    if not ends:
        raise ExportError(f"{bundle / TOKENIZER_FILE}: no end-of-sequence token, so no text has a beginning")
    folder.mkdir()
    (folder / TOKENIZER_FILE).write_text(content, encoding="utf-8")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": ends[0]}
    if manifest.tokens.bos in added:
        config["bos_token"] = added[manifest.tokens.bos]
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def _begins_texts(bundle: Path, manifest: Manifest) -> bool:
    """Whether the tokenizer puts bos before a text."""
    from tokenizers import Tokenizer

    ids = Tokenizer.from_file(str(bundle / TOKENIZER_FILE)).encode("").ids
    return bool(ids) and ids[0] == manifest.tokens.bos


@contextmanager
def _served(bundle: Path, folder: Path) -> Iterator[str]:
    """A server of the bundle on a free port; its address."""
    command = [sys.executable, "-m", "handler.local", "--port", "0", "--bundle", str(bundle)]
    command += ["--sessions", str(folder / "sessions.sqlite3")]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DORMOUSE_")}
    log = folder / "server.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, cwd=ROOT, env=clean, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line.startswith(READY):
            raise ExportError(f"{bundle}: the server does not start: {log.read_text()[-500:].strip()}")
        yield line.removeprefix(READY).split()[0]
    finally:
        process.terminate()
        process.wait()


def _run(command: list[str], folder: Path) -> None:
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder / "hf"),
        "OPENAI_API_KEY": "none",
        "no_proxy": "127.0.0.1",
    }
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ExportError(f"lm_eval: {last}")


def main(arguments: list[str] | None = None) -> int:
    """Print the results as JSON; the exit code is 0, 1 for a failure, 2 for wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m export.lm_eval",
        description="Serve a bundle and run lm-evaluation-harness against it.",
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder of the bundle")
    parser.add_argument("--task", required=True, metavar="NAME", help="a task by the name in its file")
    parser.add_argument("--tasks", type=Path, default=TASKS, metavar="DIR", help="the folder of task files")
    got = parser.parse_args(arguments)
    return run("export.lm_eval", lambda: _print(got.bundle.resolve(), got.task, got.tasks.resolve()))


def _print(bundle: Path, task: str, tasks: Path) -> int:
    print(json.dumps(evaluate(bundle, task, tasks), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
