"""Each contender's model files, made from one checkpoint, and the facts that stand beside its figures.

Owns the commands that convert and where the results lie (`build/bench/models/<shape>/<artifact>`). A finished
artifact has a `facts.json` and is not made again. Does not know how anything is measured.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.stored import onnx_facts, safetensors_facts

DEV = ".venv/dev/bin/python"
LLAMA = ".venv/bench-llama/bin/python"
CONVERT = ".venv/bench-convert/bin"


class Unavailable(Exception):
    """This artifact cannot be made here, and why."""


@dataclass(frozen=True)
class Facts:
    """How a contender stores the model."""

    path: str  # what its worker loads
    weights: str  # bits and block of the layers' matrices
    head: str  # the same of the head
    read_bytes: int  # of matrices, read for each token
    read_parameters: int
    disk_bytes: int

    @property
    def bits_per_weight(self) -> float:
        """Stored bits for each parameter read, scales included."""
        return 8 * self.read_bytes / self.read_parameters


def prepare(shape: str, artifact: str, root: Path, log: Path) -> Facts:
    """Make an artifact, or find it already made.

    Raises: Unavailable with the last line of the converter's output.
    """
    folder = root / shape
    done = folder / f"{artifact}.facts.json"
    if not done.exists():
        checkpoint = _checkpoint(shape, folder, log)
        facts = _MAKERS[artifact.partition("-")[0]](artifact, checkpoint, folder, log)
        done.write_text(json.dumps(asdict(facts), indent=1))
    return Facts(**json.loads(done.read_text()))


def _checkpoint(shape: str, folder: Path, log: Path) -> Path:
    checkpoint = folder / "checkpoint"
    if not (checkpoint / "tokenizer_config.json").exists():  # written last
        _run([DEV, "-m", "bench.shapes", shape, str(checkpoint)], log)
    return checkpoint


def _plain(_artifact: str, checkpoint: Path, _folder: Path, _log: Path) -> Facts:
    _, parameters = safetensors_facts(checkpoint / "model.safetensors")
    return Facts(str(checkpoint), "fp32 in memory", "fp32", 4 * parameters, parameters, _size(checkpoint))


def _ours(_artifact: str, checkpoint: Path, folder: Path, log: Path) -> Facts:
    out = folder / "ours"
    _run(
        [DEV, "-m", "export", str(checkpoint), "--out", str(out), "--quant", "int4", "--name", folder.name],
        log,
    )
    return _onnx(out, out / "model.onnx")


def _genai(artifact: str, checkpoint: Path, folder: Path, log: Path) -> Facts:
    out = folder / artifact
    builder = next(Path(CONVERT).parent.glob("lib/*/site-packages/onnxruntime_genai/models/builder.py"), None)
    if builder is None:
        raise Unavailable("its model builder is not installed")
    command = [
        f"{CONVERT}/python",
        str(builder),
        "-i",
        str(checkpoint),
        "-o",
        str(out),
        "-p",
        "int4",
        "-e",
        "cpu",
    ]
    command += ["-c", str(folder / "cache")]
    if artifact == "genai-same":
        prepare(folder.name, "ours", folder.parent, log)
        manifest = json.loads((folder / "ours" / "bundle.json").read_text())
        command += ["--extra_options", f"block_size={manifest['quantization']['block']}", "accuracy_level=4"]
    _run(command, log)
    return _onnx(out, out / "model.onnx")


def _optimum(_artifact: str, checkpoint: Path, folder: Path, log: Path) -> Facts:
    out = folder / "optimum"
    command = [".venv/dev/bin/optimum-cli", "export", "onnx", "--model", str(checkpoint)]
    _run([*command, "--task", "text-generation-with-past", str(out)], log)
    return _onnx(out, out / "model.onnx")


def _openvino(_artifact: str, checkpoint: Path, folder: Path, log: Path) -> Facts:
    out = folder / "openvino"
    command = [f"{CONVERT}/optimum-cli", "export", "openvino", "--model", str(checkpoint)]
    command += [
        "--task",
        "text-generation-with-past",
        "--weight-format",
        "int4",
        "--group-size",
        "128",
        "--group-size-fallback",
        "adjust",  # smaller groups where 128 does not divide a width, as in everyone's files
        "--sym",
    ]
    _run([*command, str(out)], log)
    _, parameters = safetensors_facts(checkpoint / "model.safetensors")
    weights = (out / "openvino_model.bin").stat().st_size
    return Facts(
        str(out), "int4 symmetric, block 128 or less", "int8, per row", weights, parameters, _size(out)
    )


def _gguf(artifact: str, checkpoint: Path, folder: Path, log: Path) -> Facts:
    out = folder / "gguf"
    name = artifact.removeprefix("gguf-")
    if not (out / f"{name}.json").exists():
        _run([LLAMA, "-m", "bench.formats.gguf_file", str(checkpoint), str(out)], log)
    return Facts(path=str(out / f"{name}.gguf"), **json.loads((out / f"{name}.json").read_text()))


_MAKERS: dict[str, Callable[[str, Path, Path, Path], Facts]] = {
    "checkpoint": _plain,
    "ours": _ours,
    "genai": _genai,
    "optimum": _optimum,
    "openvino": _openvino,
    "gguf": _gguf,
}


def _onnx(folder: Path, graph: Path) -> Facts:
    found = onnx_facts(graph)
    return Facts(
        str(folder), found.weights, found.head, found.read_bytes, found.read_parameters, _size(folder)
    )


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _run(command: list[str], log: Path) -> None:
    """Run a converter; what it says goes to the log, and its result is removed when it fails."""
    if shutil.which(command[0]) is None:
        raise Unavailable(f"{command[0]} is missing; `make bench` installs it")
    print(f"  {' '.join(command)}", file=sys.stderr, flush=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": ".", "HF_HUB_OFFLINE": "1"}
    with log.open("ab") as out:
        begin = out.tell()
        status = subprocess.run(command, stdout=out, stderr=out, env=environment, check=False).returncode
    if status != 0:
        said = log.read_bytes()[begin:].decode(errors="replace").strip().splitlines()
        raise Unavailable(said[-1] if said else f"{command[0]} ended with {status}")
