"""Requests that nobody thought of: schemathesis makes them from the server's own OpenAPI document."""

from __future__ import annotations

from collections import Counter
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode

REQUESTS_AN_OPERATION = 15
TIME_LIMIT = {"x-request-timeout-ms": "1000"}


def test_no_generated_request_fails_the_server(base_url: str, model: str) -> None:
    """Requests that follow the schema, and that break it, are never answered with 500; a wrong value has its
    field's name.

    Whether a failure is found is a matter of chance; none is ever reported falsely. Some twenty of the
    requests are answered and two hundred refused: that none at all is of one kind does not happen by chance.
    """
    document = schemathesis.openapi.from_url(f"{base_url}/openapi.json")
    statuses: Counter[int] = Counter()

    def send(case: Case) -> None:
        if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
            case.body["model"] = model  # any other name ends at the door
        answer = case.call(headers=TIME_LIMIT)
        statuses[answer.status_code] += 1
        assert answer.status_code < 500, case.as_curl_command()
        error = answer.json()["error"] if answer.status_code == 400 else {}
        assert error.get("code") != "invalid_value" or error["param"], case.as_curl_command()

    for found in document.get_all_operations():
        attempt(found.ok(), send)
    assert statuses[200], statuses
    assert statuses[400], statuses


def attempt(operation: Any, send: Any) -> None:
    """Send a bounded number of requests to one operation."""
    modes = [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]
    run = settings(
        max_examples=REQUESTS_AN_OPERATION,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # no shrinking: the run is bounded
        suppress_health_check=list(HealthCheck),
    )(given(case=st.one_of(modes))(lambda case: send(case)))
    run()
