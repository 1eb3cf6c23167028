"""One environment with the real loop, engine and store, through thousands of invocations: none is lost or
stuck, and nothing is held on to."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, median_low

import pytest

from tests.contract.runtime.conftest import Environment
from tests.contract.runtime.traffic import ACTS, Sample, Traffic
from tests.contract.sessions.conftest import place
from tests.contract.sessions.stores import Place
from tests.dynamodb import CREDENTIALS

__all__ = ["place"]

Start = Callable[..., Environment]
INVOCATIONS = int(os.environ.get("ENVIRONMENT_INVOCATIONS", "250"))
"""5,000 are the long run."""

COMMAND = (sys.executable, "-m", "awslambdaric", "tests.contract.runtime.faulty_function.handler")
FLAT = 1.03
SETTLED = 500
"""So many invocations pass until the allocator has met every mixture of sizes, and SQLite had to open another
connection beside one at work; until then memory and files may grow."""

SEED = 20_261_126


def variables(place: Place, bundle: Path) -> dict[str, str]:
    """The function's environment, its sessions at that place."""
    sessions = {"DORMOUSE_SESSIONS": place.address}
    if place.kind != "sqlite":
        sessions = {
            "DORMOUSE_SESSIONS": "dynamodb",
            "DORMOUSE_TABLE": place.table,
            "DORMOUSE_DYNAMODB_ENDPOINT": place.address,
            **CREDENTIALS,
        }
    return {
        **sessions,
        "_HANDLER": COMMAND[-1],
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
        "DORMOUSE_BUNDLE": str(bundle),
    }


@pytest.mark.parametrize("place", ["sqlite", "dynamodb"], indirect=True)
@pytest.mark.timeout(3_600)
def test_thousands_of_invocations_leave_nothing_behind(
    start: Start, place: Place, house_bundle: Path
) -> None:
    """Each has the one outcome that is its own; memory, sockets and threads are at the end what they were."""
    environment = start(*COMMAND, **variables(place, house_bundle))
    model = json.loads((house_bundle / "bundle.json").read_text())["name"]
    traffic = Traffic(environment, model, SEED)
    for act in ACTS:
        act(traffic)
    traffic.run(INVOCATIONS)
    samples = traffic.samples
    tenths = [samples[i * len(samples) // 10 : (i + 1) * len(samples) // 10] for i in range(10)]
    rss_mib = [fmean(each.rss_kib for each in tenth) / 1024 for tenth in tenths]
    early, late = usual(tenths[1]), usual(tenths[-1])
    facts = {
        "place": place.kind,
        "invocations": len(samples),
        "rss_mib": [round(each, 1) for each in rss_mib],
    }
    print(json.dumps({**facts, "usual": [early, late], "slowest_s": round(traffic.slowest_s, 2)}))
    print(json.dumps(dict(sorted(traffic.outcomes.items()))))
    assert environment.process.poll() is None
    assert late["sockets"] <= early["sockets"]
    assert late["threads"] <= early["threads"]
    if len(tenths[0]) >= SETTLED:
        assert late["files"] <= early["files"]
        assert rss_mib[-1] <= FLAT * rss_mib[1]


def usual(samples: Sequence[Sample]) -> dict[str, int]:
    """What was open at half of the times: what comes and goes does not move it, what is never closed does."""
    return {
        name: median_low(getattr(each, name) for each in samples) for name in ("files", "sockets", "threads")
    }
