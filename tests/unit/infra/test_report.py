"""A day's report, from lines that the handler itself has written."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra import prices
from infra.report.__main__ import main
from infra.report.day import Day, figures, quantiles
from infra.report.lines import Invocation, Malformed, read_line
from infra.report.sources import SourceError, messages
from tests.stack import PROJECT, function_environment, properties
from tests.unit.infra.recorded_day import ENDED

TEXT_REPORT = (
    "REPORT RequestId: r-chat\tDuration: 812.41 ms\tBilled Duration: 1200 ms\tMemory Size: 1024 MB\t"
    "Max Memory Used: 300 MB\tInit Duration: 387.20 ms\t"
)
STAMP = "2026-11-25T10:00:00.123000+00:00"
RESTORED = {
    "time": "2026-11-25T10:00:00.000Z",
    "type": "platform.report",
    "record": {
        "requestId": "r-kept",
        "status": "success",
        "metrics": {
            "durationMs": 500.1,
            "billedDurationMs": 501,
            "memorySizeMB": 2048,
            "maxMemoryUsedMB": 310,
            "restoreDurationMs": 210.5,
            "billedRestoreDurationMs": 99,
        },
    },
}


def access_line(request: str) -> str:
    """API Gateway's line, by the template's own format with its variables filled in."""
    method, route, tenant, status = ENDED[request]
    values = {
        "$context.requestId": request,
        "$context.requestTime": "25/Nov/2026:10:00:00 +0000",
        "$context.authorizer.tenant": tenant,
        "$context.httpMethod": method,
        "$context.resourcePath": route,
        "$context.status": str(status),
    }
    form: dict[str, str] = json.loads(properties("Api")["AccessLogSetting"]["Format"])
    return json.dumps({name: values.get(variable, "-") for name, variable in form.items()})


@pytest.fixture(scope="module")
def day_of_lines(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], dict[str, Any]]:
    """The log of a small day, as the handler's process writes it, and its answers' receipts by request."""
    receipts = tmp_path_factory.mktemp("day") / "receipts.json"
    process = subprocess.run(
        [sys.executable, "-m", "tests.unit.infra.recorded_day", str(receipts)],
        cwd=PROJECT,
        env={**os.environ, "POWERTOOLS_SERVICE_NAME": "dormouse"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [*process.stdout.splitlines(), *process.stderr.splitlines()]
    lines += ["START RequestId: r-chat Version: 1", TEXT_REPORT, json.dumps(RESTORED)]
    return [*lines, *map(access_line, ENDED)], json.loads(receipts.read_text())


def test_a_day_adds_up_to_its_receipts(day_of_lines: tuple[list[str], dict[str, Any]]) -> None:
    """Answers, tokens and times are those of the receipts that the clients got, and nothing is malformed."""
    lines, receipts = day_of_lines
    found: Any = figures(Day().read(lines))
    made = list(receipts.values())
    assert found["requests"] == len(ENDED)
    assert found["answers"] == len(made) == found["lines"]["metric_answers"]
    assert found["stop_reasons"] == {"stop": len(made)}
    assert found["tokens"] == {
        "input": sum(each["prompt_tokens"] for each in made),
        "cached": sum(each["cached_tokens"] for each in made),
        "output": sum(each["output_tokens"] for each in made),
    }
    assert found["time_to_first_token_ms"]["p99"] == max(each["prefill_ms"] for each in made)
    speeds = [each["tokens_per_s"] for each in made]
    assert found["decode_tokens_per_s"]["p99"] == pytest.approx(max(speeds), rel=0.01)
    assert found["lines"]["malformed"] == 0


def test_errors_are_counted_by_code(day_of_lines: tuple[list[str], dict[str, Any]]) -> None:
    """The function's refusals by status and code, its bugs, and what the gateway refused before it."""
    found: Any = figures(Day().read(day_of_lines[0]))
    assert found["errors"].pop("401 by the gateway") == 1
    assert found["errors"].pop("500 by a bug") == found["bugs"] == 1
    assert sum(found["errors"].values()) == 3
    assert found["conflicts"] == 1
    assert found["quota_refusals"] == 1
    assert any(code.startswith("400 ") for code in found["errors"])


def test_the_bill_is_the_platforms(day_of_lines: tuple[list[str], dict[str, Any]]) -> None:
    """GB-seconds are what Lambda's reports bill, restores included, and every part has its price."""
    bill: Any = figures(Day().read(day_of_lines[0]))["bill"]
    assert bill["gb_s"] == pytest.approx(1.2 * 1 + 0.6 * 2)
    assert bill["compute_usd"] == pytest.approx(bill["gb_s"] * 0.0000166667)
    assert bill["requests_usd"] == pytest.approx(2 * 0.0000002)
    assert bill["restores_usd"] == pytest.approx(2 * prices.RESTORED_GB)
    assert bill["gateway_usd"] == pytest.approx(len(ENDED) * 3.5e-6)
    assert bill["total_usd"] == pytest.approx(
        sum(usd for name, usd in bill.items() if name.endswith("usd") and name != "total_usd")
    )
    starts: Any = figures(Day().read(day_of_lines[0]))["cold_starts"]
    assert (starts["inits"], starts["restores"]) == (1, 1)


@pytest.mark.parametrize(
    ("machine", "architecture", "options"),
    [
        ("x86_64 avx512-vnni", "x86_64", []),
        ("aarch64 i8mm", "arm64", []),
        ("", "x86_64", []),  # lines of before it was told
        ("", "arm64", ["--architecture", "arm64"]),
    ],
)
def test_a_bill_is_at_the_price_of_where_answers_were_made(
    machine: str,
    architecture: str,
    options: list[str],
    day_of_lines: tuple[list[str], dict[str, Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An arm64 stack is billed a fifth less, and the report says whose prices it has."""
    lines = [
        re.sub(r'"instruction_set": ?"[^"]+"', f'"instruction_set":"{machine}"', line)
        for line in day_of_lines[0]
    ]
    assert any(f'"instruction_set":"{machine}"' in line for line in lines)
    (tmp_path / "log").write_text("\n".join(lines))
    assert main([str(tmp_path / "log"), *options]) == 0
    assert re.search(rf"^Prices +us-east-1, {architecture}, ", capsys.readouterr().out, re.MULTILINE)
    assert main([str(tmp_path / "log"), "--json", *options]) == 0
    bill = json.loads(capsys.readouterr().out)["bill"]
    assert bill["compute_usd"] == pytest.approx(bill["gb_s"] * prices.GB_S[architecture][0][1])


def test_the_authorizer_is_in_no_bill_but_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its log alone makes a bill, and the report of the others says that it is not in it."""
    metrics = {"durationMs": 1, "billedDurationMs": 1000, "memorySizeMB": 256, "maxMemoryUsedMB": 40}
    report = {"type": "platform.report", "record": {"requestId": "r", "metrics": metrics}}
    (tmp_path / "log").write_text(json.dumps(report))
    assert main([str(tmp_path / "log")]) == 0
    told = capsys.readouterr().out
    assert re.search(r"^Billed +0\.250 GB-s$", told, re.MULTILINE)
    assert "the authorizer" in told


def test_tenants_share_a_day_among_them(day_of_lines: tuple[list[str], dict[str, Any]]) -> None:
    """Each tenant has its own requests and answers, and together they are the day."""
    day = Day().read(day_of_lines[0])
    tenants: dict[str, Any] = {name: figures(each) for name, each in day.by_tenant().items()}
    assert {name: each["requests"] for name, each in tenants.items()} == {"ann": 4, "ben": 4, "(nobody)": 1}
    assert tenants["ann"]["answers"] == tenants["ben"]["answers"] == 2
    assert {name: each["bugs"] for name, each in tenants.items()} == {"ann": 0, "ben": 1, "(nobody)": 0}


def test_what_is_malformed_is_counted(day_of_lines: tuple[list[str], dict[str, Any]]) -> None:
    """A line cut anywhere is never fatal, and never counted as what it was."""
    for line in day_of_lines[0]:
        for cut in range(len(line)):
            try:
                fact = read_line(line[:cut])
            except Malformed:
                continue
            whole = read_line(line)
            assert fact is None or fact == whole or isinstance(fact, Invocation)
    broken: Any = figures(Day().read(['{"message": "answered"}', "{", "REPORT RequestId: x\tDuration: 1 ms"]))
    assert broken["lines"] == {"read": 3, "malformed": 3, "metric_answers": 0}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda lines: "\n".join(lines),
        lambda lines: "\n".join(f"{STAMP} 2026/11/25/[1]ab12 {line}" for line in lines),
        lambda lines: "\n".join(f"2026-11-25T10:00:00 {line}" for line in lines),
        lambda lines: json.dumps({"events": [{"message": line + "\n"} for line in lines]}, indent=4),
        lambda lines: json.dumps({"events": [{"message": line} for line in lines], "searchedLogStreams": []}),
    ],
    ids=["plain", "tail", "tail-short", "filter", "filter-in-a-line"],
)  # fmt: skip
def test_every_way_out_of_cloudwatch_is_read(
    wrap: Callable[[list[str]], str],
    day_of_lines: tuple[list[str], dict[str, Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Plain lines, `aws logs tail` and `filter-log-events` tell the same."""
    (tmp_path / "log").write_text(wrap(day_of_lines[0]))
    assert main([str(tmp_path / "log"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    expected: Any = figures(Day().read(day_of_lines[0]))
    for figure in ("requests", "answers", "tokens", "errors", "time_to_first_token_ms"):
        assert found[figure] == expected[figure]
    assert found["bill"]["gb_s"] == expected["bill"]["gb_s"]


def test_the_table_says_it_in_words(
    day_of_lines: tuple[list[str], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From standard input: a table with units, and a line for each tenant when asked."""
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(day_of_lines[0])))
    assert main(["-", "--by-tenant"]) == 0
    table = capsys.readouterr().out
    for expected in ("tokens/s", " ms", "2.400 GB-s", "MiB", "$", "malformed 0", "ann ", "ben ", "(nobody)"):
        assert expected in table


def test_what_no_line_tells_has_no_price(
    day_of_lines: tuple[list[str], dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the access log API Gateway's part is unknown, not free, and the total is of the other parts."""
    lines = [line for line in day_of_lines[0] if '"route"' not in line]
    bill: Any = figures(Day().read(lines))["bill"]
    assert bill["gateway_usd"] is None
    known = [usd for name, usd in bill.items() if name.endswith("usd") and name != "total_usd"]
    assert bill["total_usd"] == pytest.approx(sum(usd for usd in known if usd is not None))
    (tmp_path / "log").write_text("\n".join(lines))
    assert main([str(tmp_path / "log")]) == 0
    table = capsys.readouterr().out
    assert re.search(r"API Gateway requests +not in these logs\n", table)
    assert "without the access log" in table


def test_a_cut_document_is_refused() -> None:
    """Half of filter-log-events' JSON is an error in one sentence, not a day without requests."""
    text = json.dumps({"events": [{"message": "x"}]}, indent=1)
    with pytest.raises(SourceError, match="filter-log-events"):
        list(messages(io.StringIO(text[:20])))


def test_nothing_makes_no_figures() -> None:
    """A day without lines has no quantiles and costs nothing."""
    found: Any = figures(Day().read([]))
    assert found["requests"] == found["answers"] == 0
    assert found["time_to_first_token_ms"] is None
    assert found["bill"]["total_usd"] == 0


def test_quantiles_are_values_that_were_measured() -> None:
    """By nearest rank: p50 of 1 to 100 is 50, p99 is 99."""
    assert quantiles([float(n) for n in range(100, 0, -1)]) == {"p50": 50, "p95": 95, "p99": 99}


def test_prices_stand_in_one_place() -> None:
    """The receipts' prices, in settings and template, are those of the report."""
    variables = properties("Function")["Environment"]["Variables"]
    _, arm, x86 = variables["DORMOUSE_PRICE_GB_S_USD"]["Fn::If"]
    assert float(arm) == prices.GB_S["arm64"][0][1]
    assert float(x86) == prices.GB_S["x86_64"][0][1]
    assert float(function_environment({"Table": "t"})["DORMOUSE_PRICE_GB_S_USD"]) == float(x86)


def test_more_costs_less_each() -> None:
    """Tiers are filled one after the other."""
    assert prices.tiered(1e9, prices.GATEWAY_REQUEST) == pytest.approx(333 * 3.5 + 667 * 2.8)
