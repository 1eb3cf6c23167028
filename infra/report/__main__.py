"""Prints from the logs what a day cost and how it felt.

    python -m infra.report FILE...    (lines, or JSON of `aws logs filter-log-events`; - is stdin)
    python -m infra.report --group NAME [--group NAME] [--day 2026-11-25]

The groups are the stack's function log (output LogGroup) and its access log (AccessLogGroup). The second one
prices API Gateway's part, counts requests that never reached the function, tells stateless answers from those
that were stored, and lets `--by-tenant` know whose a request was. A report of the authorizer's log alone
(AuthorizerLogGroup) tells what checking keys took, which is in no other bill.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from infra import prices
from infra.report.day import Day, figures
from infra.report.sources import SourceError, cloudwatch, messages
from infra.report.table import render


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if bool(options.files) == bool(options.group):
        parser.error("say either which files to read (- is standard input), or --group")
    if options.day and options.files:
        parser.error("--day goes with --group; a file is reported whole")
    try:
        day = Day().read(_lines(options))
    except (SourceError, OSError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 1
    architecture = options.architecture or day.architecture
    found = figures(day, architecture)
    tenants = None
    if options.by_tenant:
        tenants = {name: figures(each, architecture) for name, each in day.by_tenant().items()}
    if options.json:
        print(json.dumps(found | ({"tenants": tenants} if tenants is not None else {}), indent=1))
    else:
        print(render(found, tenants))
    return 0


def _lines(options: argparse.Namespace) -> Iterator[str]:
    for name in options.files:
        if name == "-":
            yield from messages(sys.stdin)
        else:
            with Path(name).open(encoding="utf-8", errors="replace") as file:
                yield from messages(file)
    day = options.day or datetime.now(UTC).date() - timedelta(days=1)
    for group in options.group or ():
        yield from cloudwatch(group, day, region=options.region, endpoint=options.endpoint)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day; write it as 2026-11-25") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m infra.report", description="What a day cost and how it felt."
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="logs to read; - is standard input")
    parser.add_argument("--group", action="append", help="a log group of CloudWatch Logs; may be repeated")
    parser.add_argument("--day", type=_day, help="day in UTC (default: yesterday)")
    parser.add_argument("--region", help="AWS region (default: as AWS's tools find it)")
    parser.add_argument("--endpoint", help="another server than AWS's own")
    parser.add_argument(
        "--architecture",
        choices=sorted(prices.GB_S),
        help="whose price (default: that of the answers, x86_64 where none says)",
    )
    parser.add_argument(
        "--by-tenant", action="store_true", help="a line for each tenant; needs the access log"
    )
    parser.add_argument("--json", action="store_true", help="all figures as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
