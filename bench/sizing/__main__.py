"""Which memory size for which model: `python -m bench.sizing measure|report`.

    python -m bench.sizing measure --bundle embedded=models/house/bundle --out build/bench/sizing.json
    python -m bench.sizing report build/bench/sizing.json --page docs/sizing.md

`measure` adds its rows to the file, one bundle a call, so that a long run can be done in parts, on one
machine and at one commit; it needs the right to make a cgroup. `report` fills the tables of the page and
draws its chart from the rows alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.machine import describe
from bench.options import bundle
from bench.pages import fill
from bench.sizing.page import blocks
from bench.sizing.share import NoQuota, vcpus
from bench.sizing.share import cores as cores_here

SIZES_MIB = (512, 1024, 1769, 2654, 3538)


def measure(options: argparse.Namespace) -> int:
    """Measure one bundle at every size that this machine has the cores for."""
    from bench.sizing.measure import facts
    from bench.sizing.measure import measure as measured

    name, folder = options.bundle
    known: dict[str, Any] = {
        "machine": describe(),
        "date": datetime.now(UTC).date().isoformat(),
        "bundles": {},
    }
    if options.out.exists():
        before = json.loads(options.out.read_text())
        if _lasting(before["machine"]) != _lasting(known["machine"]):
            rest = "of another machine or commit; move it away, or name another file by --out"
            print(f"sizing: {options.out}: {rest}", file=sys.stderr)
            return 1
        known["bundles"] = before["bundles"]
    model = known["bundles"][name] = {**facts(folder), "rows": []}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        for size in (size for size in options.sizes if vcpus(size) <= cores_here()):
            for threads in options.threads:
                row = measured(folder, size, threads)
                model["rows"].append(row)
                options.out.write_text(json.dumps(known, indent=1) + "\n")
                shown = {key: value for key, value in row.items() if key != "samples"}
                print(f"{name}: {shown}", file=sys.stderr, flush=True)
    except NoQuota as error:
        print(f"sizing: no quota of processor time here: {error}", file=sys.stderr)
        return 1
    return 0


def _lasting(machine: dict[str, Any]) -> dict[str, Any]:
    return {name: fact for name, fact in machine.items() if name != "load"}


def report(options: argparse.Namespace) -> int:
    """Fill the page, and draw its chart beside the rows."""
    from bench.sizing.chart import draw

    results: dict[str, Any] = json.loads(options.results.read_text())
    options.page.write_text(fill(options.page.read_text(), blocks(results)))
    draw(results, options.results.with_suffix(".svg"))
    return 0


def _named(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text}: wanted is NAME=FOLDER")
    return name, bundle(folder)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.sizing", description="Memory size against speed and cost."
    )
    commands = parser.add_subparsers(required=True, metavar="measure|report")
    measuring = commands.add_parser("measure", help="measure one bundle")
    measuring.add_argument(
        "--bundle", required=True, type=_named, metavar="NAME=FOLDER", help="what to measure, and its name"
    )
    measuring.add_argument("--sizes", type=_numbers, default=list(SIZES_MIB), help="MiB, comma-separated")
    measuring.add_argument(
        "--threads",
        type=_numbers,
        default=[0],
        help="threads to try; 0 is one for each whole vCPU of the size",
    )
    measuring.add_argument(
        "--out", type=Path, default=Path("build/bench/sizing.json"), help="file to add the rows to"
    )
    measuring.set_defaults(act=measure)
    reporting = commands.add_parser("report", help="write the page from measured rows")
    reporting.add_argument("results", type=Path, help="file of measured rows")
    reporting.add_argument("--page", type=Path, default=Path("docs/sizing.md"), help="page to fill")
    reporting.set_defaults(act=report)
    options = parser.parse_args(arguments)
    return int(options.act(options))


if __name__ == "__main__":
    sys.exit(main())
