"""`python -m export compare SOURCE SOURCE ... --out DIR`: the order of a comparison, on the command line."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.machine import describe
from export.compare.chart import draw
from export.compare.lambda_fit import fit
from export.compare.models import bundles
from export.compare.quality import quality
from export.compare.results import Result, result, section, text_lines
from export.errors import ExportError
from export.markdown import document
from export.passage import PASSAGE
from export.pipeline import Options
from export.rounding.text import read_text
from export.speed import measure
from export.stages import Stages
from export.wording import title
from handler.engine.bundle import read_manifest

FILES = ("compare.md", "compare.json", "compare.svg")


def main(arguments: list[str]) -> int:
    """Compare the models that are named.

    Raises: ExportError when one of them is none, or cannot be run.
    """
    got = _parse(arguments)
    if len(got.sources) < 2:
        raise ExportError("compare: needs two models at least")
    recipe = Options("", got.out, got.quant, got.block)
    text = PASSAGE if got.text is None else read_text(got.text, "--text").text
    got.out.mkdir(parents=True, exist_ok=True)
    results = compare(got.sources, recipe, text, Stages())
    found = section(results, machine())
    for line in (*text_lines(found.tables[0]), "", *found.text):
        print(line)
    _write(got.out, results, machine())
    return 0


def compare(sources: Sequence[str], recipe: Options, text: str, stages: Stages) -> list[Result]:
    """Export what is no bundle yet by `recipe` under its `out`, then measure all."""
    found = bundles(sources, recipe, recipe.out / "bundles", stages)
    with stages.stage("speed", f"{len(found)} models in turns"):
        speeds = measure(found, recipe.out / "logs")
    results = []
    for name, bundle in found.items():
        with stages.stage("quality", name):
            read = quality(bundle, text)
        manifest = read_manifest(bundle)
        size = sum(entry.size_bytes for entry in manifest.files.values())
        on_lambda = fit(size, speeds[name], read.bytes_per_token)
        recipe_title = title(manifest.quantization)
        results.append(result(name, manifest, recipe_title, read, speeds[name], on_lambda))
    return results


def machine() -> str:
    """What it was measured on."""
    facts = describe()
    return f"{facts['cpu']}, {facts['cores']} cores, {facts['kernels']}"


def _write(out: Path, results: Sequence[Result], machine: str) -> None:
    found = section(results, machine)
    markdown, facts, chart = (out / name for name in FILES)
    pictured = dataclasses.replace(found, text=(*found.text, f"![{found.title}]({chart.name})"))
    markdown.write_text(document("Models side by side", [pictured]), encoding="utf-8")
    facts.write_text(json.dumps(found.facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draw(results, chart)
    print(f"\n{', '.join(str(out / name) for name in FILES)}", file=sys.stderr)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m export compare", description="Set models side by side, to choose one by."
    )
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="a bundle, a model folder or a hub id")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="for table, chart and bundles")
    parser.add_argument("--quant", choices=("int4", "int8", "fp32"), default="int4")
    parser.add_argument("--block", type=int, default=128, metavar="N")
    parser.add_argument(
        "--text",
        type=Path,
        metavar="FILE",
        help="to measure quality on: UTF-8, read in windows of each context",
    )
    return parser.parse_args(arguments)
