"""`python -m export SOURCE --out DIR`: a model into a bundle, on the command line.

`python -m export compare ...` sets several side by side; a folder of that name is `./compare`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from export.command import run
from export.compare.command import main as compare
from export.errors import ExportError
from export.memory import give_back_large_arrays
from export.pipeline import Options, export_bundle
from export.stages import Stages

COMPARE = "compare"


def main(arguments: list[str] | None = None) -> int:
    """Run one export or comparison; the exit code is 0, 1 for a failure, 2 for wrong usage."""
    given = sys.argv[1:] if arguments is None else arguments
    give_back_large_arrays()
    if given[:1] == [COMPARE]:
        return run("export", lambda: compare(given[1:]))
    return run("export", lambda: _export(_parse(given)))


def _export(options: Options) -> int:
    try:
        manifest = export_bundle(options, Stages())
    except KeyboardInterrupt:
        raise ExportError("interrupted, nothing was written") from None
    size_mb = sum(entry.size_bytes for entry in manifest.files.values()) / 1e6
    print(f"{options.out}: {manifest.name}, {manifest.quantization.recipe}, {size_mb:.1f} MB")
    return 0


def _parse(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(prog="python -m export", description="Convert a model into a bundle.")
    parser.add_argument("source", metavar="SOURCE", help="a hub id or a model folder")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="the bundle to write or replace"
    )
    parser.add_argument(
        "--quant", choices=("int4", "int8", "fp32"), default="int4", help="how weights are stored (int4)"
    )
    parser.add_argument(
        "--block", type=int, default=128, metavar="N", help="weights that share a scale (128)"
    )
    parser.add_argument(
        "--context",
        type=int,
        dest="context_tokens",
        metavar="N",
        help="tokens the bundle may hold (trained, up to 8192)",
    )
    parser.add_argument(
        "--way",
        choices=("auto", "fused", "universal"),
        default="auto",
        help="by a graph of our own or by optimum's (auto: fused, for the families that have one)",
    )
    parser.add_argument("--name", help="the model's name in the API (the source's last part)")
    parser.add_argument(
        "--rounding", choices=("gptq", "nearest"), help="of the weights (gptq for int4, nearest for int8)"
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE",
        help="text for gptq: UTF-8, what the model will be used for",
    )
    parser.add_argument(
        "--adapter",
        metavar="DIR",
        help="a LoRA adapter to merge, a folder or hub id; SOURCE may be one itself",
    )
    parser.add_argument("--asymmetric", action="store_true", help="give each block a code of zero of its own")
    parser.add_argument(
        "--target-size", metavar="SIZE", help="mix int4 and int8 to fit: 400MB (graph, weights, tokenizer)"
    )
    parser.add_argument(
        "--target-kl", type=float, metavar="NATS", help="mix int4 and int8 to stay this close: 0.02"
    )
    parser.add_argument(
        "--frontier", action="store_true", help="export and measure other recipes too, for the report"
    )
    parser.add_argument("--text", type=Path, metavar="FILE", help="what fidelity is measured on: UTF-8")
    parser.add_argument(
        "--dialogues", type=Path, metavar="FILE", help="held-out dialogues to score answers on: JSON lines"
    )
    parser.add_argument(
        "--accept", metavar="REASON", help="make the bundle although checks fail; the reason is recorded"
    )
    parser.add_argument(
        "--report-to", type=Path, metavar="STEM", help="a copy of the report: STEM.html, STEM.md, STEM.json"
    )
    parser.add_argument("--revision", help="a hub branch, tag or commit (main)")
    parser.add_argument(
        "--no-probes", action="store_false", dest="probes", help="leave bias, refusals and injections unasked"
    )
    return Options(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
