"""A server that trusts its own machine, and the web pages that are open there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from handler.access import check_page
from handler.errors import Forbidden
from handler.gateway import Gateway
from tests.unit.handler.test_gateway import stay

LOCAL = "127.0.0.1:8080"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        *({"host": host} for host in (LOCAL, "localhost", "[::1]:8080", "192.168.1.7:8080")),
        *({"host": host} for host in ("mouse:8080", "mouse.local", "host.docker.internal:8080")),
        {"host": LOCAL, "sec-fetch-site": "cross-site"},  # a link that was followed
        {"host": LOCAL, "origin": f"http://{LOCAL}", "sec-fetch-site": "same-origin"},
        {"host": "mouse:9000", "origin": "http://mouse:9000"},  # a port that is handed on to ours
        {"host": LOCAL, "origin": "http://localhost:5173"},  # a page under development, by its own proxy
        {"host": LOCAL, "origin": "http://tauri.localhost"},
        {"host": LOCAL, "origin": "app://chat"},
        {"host": "localhost:8080", "origin": "https://tunnel.example", "sec-fetch-site": "same-origin"},
    ],
)
def test_programs_and_pages_of_this_machine_come_in(headers: dict[str, str]) -> None:
    """Whatever they call it by, and whoever follows a link to it."""
    check_page(headers)


@pytest.mark.parametrize("host", ["evil.example:8080", "127.0.0.1.evil.example", "localhost.evil", "a.b."])
def test_a_name_that_others_could_own_is_refused(host: str) -> None:
    """It was made to lead here, and what its pages read would be of the same origin; the way out is told."""
    with pytest.raises(Forbidden, match=r"localhost or 127\.0\.0\.1"):
        check_page({"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"})


@pytest.mark.parametrize("origin", ["https://evil.example", "http://203.0.113.5", "null", "http://[", ""])
@pytest.mark.parametrize("site", [{"sec-fetch-site": "cross-site"}, {}])
def test_a_page_of_another_site_is_refused(origin: str, site: dict[str, str]) -> None:
    """Also where it hides its origin, and where an older browser tells the origin alone."""
    with pytest.raises(Forbidden, match="other sites"):
        check_page({"host": LOCAL, "origin": origin, **site})


@pytest.mark.parametrize(("trusts_machine", "status"), [(True, 403), (False, 200)])
def test_only_who_trusts_the_machine_asks(trusts_machine: bool, status: int) -> None:
    """Where keys are asked for, or a platform has asked, a page can do no more than anybody else."""
    statuses = []

    async def note(message: Any) -> None:
        statuses.append(message.get("status"))

    bodies = [{"type": "http.request", "body": b""}]

    async def receive() -> Any:
        return bodies.pop() if bodies else await stay()

    ok = {"statusCode": 200, "headers": {}, "body": ""}
    gateway = Gateway(lambda *_: ok, trusts_machine=trusts_machine)
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b""}
    headers = [(b"host", LOCAL.encode()), (b"origin", b"https://evil.example")]
    asyncio.run(gateway({**scope, "headers": headers}, receive, note))
    assert statuses[0] == status
