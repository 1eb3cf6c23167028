"""`python -m bench`: prepare, run, and write JSON, a table and charts under `build/bench`."""

from __future__ import annotations

import argparse
import datetime
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.contenders import CONTENDERS
from bench.machine import describe
from bench.options import count, some_of
from bench.report import write_report
from bench.results import Result, ShapeResult, read
from bench.run import Plan, ShapeRun
from bench.shapes import SHAPES
from bench.workshop import Workshop

ROOT = Path("build/bench")
PROMPT_TOKENS = 32
THREADS = 2
SECTIONS = ("throughput", "single", "starts", "exactness")


def main(arguments: Sequence[str] | None = None) -> int:
    got = _parse(arguments)
    if got.report:
        write_report(*got.report)
        return 0
    # An orderly end: workers are closed on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    now = datetime.datetime.now(datetime.UTC)
    result = Result(
        date=now.isoformat(timespec="seconds"),
        command=_command(got),
        rounds=got.rounds,
        threads=got.threads,
        machine=describe(),
    )
    file = ROOT / f"{now:%Y-%m-%dT%H%M%S}.json"
    for shape in got.shapes:
        _measure(shape, result, file, got)
    result.save(file)
    write_report(result, file)
    return 0 if any(shape.samples or shape.exactness for shape in result.shapes.values()) else 1


def _command(got: argparse.Namespace) -> str:
    """The command that makes this run again; a run of some sections only is not one of `make`'s."""
    if got.sections != list(SECTIONS) or got.threads != THREADS:
        return f"python -m bench {' '.join(sys.argv[1:])}"
    only = f" ONLY={','.join(got.only)}" if got.only else ""
    return f"make bench SHAPES={','.join(got.shapes)} ROUNDS={got.rounds}{only}"


def _measure(shape: str, result: Result, file: Path, got: argparse.Namespace) -> None:
    chosen = [contender for contender in CONTENDERS if not got.only or contender.key in got.only]
    config = SHAPES[shape]
    context = config.get("max_position_embeddings") or config["n_positions"]
    found = result.shapes[shape] = ShapeResult(shape)
    run = ShapeRun(
        found,
        chosen,
        Plan(got.rounds, got.threads, context),
        Workshop(shape, ROOT),
        lambda: result.save(file),
    )
    if run.has_nobody:
        return
    if "throughput" in got.sections:
        run.throughput()
    if "single" in got.sections:
        run.single()
    if "starts" in got.sections:
        run.starts(_prompt(ROOT / "models" / shape / "checkpoint" / "tokenizer.json"), PROMPT_TOKENS)
    if "exactness" in got.sections:
        run.exactness()


def _prompt(tokenizer_file: Path) -> str:
    """As many words as make a prompt of about 32 tokens with this tokenizer."""
    from tokenizers import Tokenizer

    from bench.passages import PASSAGE

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    words = PASSAGE.split()
    fitting = (" ".join(words[:count]) for count in range(PROMPT_TOKENS, 0, -1))
    return next(text for text in fitting if len(tokenizer.encode(text).ids) <= PROMPT_TOKENS)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Dormouse beside its peers.")
    names, keys = sorted(SHAPES), [contender.key for contender in CONTENDERS]
    parser.add_argument(
        "--shapes",
        type=some_of(names),
        default=["smollm2-135m", "qwen2.5-0.5b", "gpt2"],
        help=f"some of {', '.join(names)}",
    )
    parser.add_argument("--only", type=some_of(keys), default=[], help=f"some of {', '.join(keys)}")
    parser.add_argument(
        "--sections",
        type=some_of(SECTIONS),
        default=list(SECTIONS),
        help=f"some of {', '.join(SECTIONS)}",
    )
    parser.add_argument("--rounds", type=count, default=8, help="rounds of each shape (default: %(default)s)")
    parser.add_argument(
        "--threads", type=count, default=THREADS, help="threads of every contender (default: %(default)s)"
    )
    parser.add_argument(
        "--report", type=_saved, metavar="JSON", help="only write the table and charts of a saved run"
    )
    return parser.parse_args(arguments)


def _saved(text: str) -> tuple[Result, Path]:
    try:
        return read(Path(text)), Path(text)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise argparse.ArgumentTypeError(f"{text}: not a saved run: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
