"""Who may come in: anybody on loopback; whoever has a key of the file; or whoever a platform has let through.

Knows no sockets and no requests. The last of the three is never assumed, and believed only on a platform. On
loopback a browser is not anybody: it also carries what web pages of strangers send.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from handler.errors import Forbidden, StartupError
from handler.key_file import KeyFile
from handler.platforms import Platform

PLATFORM = "platform"
"""The value of `DORMOUSE_KEYS` that leaves it to the platform around us."""

UNOWNED = re.compile(r"[^.]*|.*\.(localhost|local|internal|[0-9]+)")
"""Names that no stranger can own, and addresses. Sources: RFC 6761; RFC 6762; ICANN's board, 2024-07-29."""


def open_keys(keys: str, host: str, platform: Platform | None) -> KeyFile | None:
    """Open the file of keys, or none where no key is asked for.

    Raises: StartupError where that would let anybody in, or nobody.
    """
    if keys == PLATFORM:
        _check_trust(host, platform)
        return None
    if platform is not None and platform.hides_authorization:
        raise StartupError(
            f"keys: {platform.name} asks for {platform.identity} and passes no Authorization header on, so "
            f"that no API key would arrive: set DORMOUSE_KEYS={PLATFORM}"
        )
    if not keys and not is_loopback(host):
        raise StartupError(_missing(host, platform))
    return KeyFile(Path(keys)) if keys else None


def check_page(headers: Mapping[str, str]) -> None:
    """Let in, where no key is asked for, no web page but our own and those of this machine.

    Strangers may have a name of theirs lead here (DNS rebinding), and their pages may send what they cannot
    read (cross-site request forgery). Raises: Forbidden.
    Source: https://developer.mozilla.org/en-US/docs/Web/Security/Attacks/CSRF
    """
    host = headers.get("host", "")
    name = _parts(f"//{host}").hostname or ""
    if not UNOWNED.fullmatch(name):
        raise Forbidden(
            f"This server asks for no keys, so it answers to no name that others could own, as {name!r}: "
            "call it localhost or 127.0.0.1, or give it keys (--keys)."
        )
    if "origin" not in headers or headers.get("sec-fetch-site") == "same-origin":
        return
    page = _parts(headers["origin"])
    is_ours = page.netloc == host or is_loopback(page.hostname or "")
    if page.scheme in ("", "http", "https") and not is_ours:
        raise Forbidden("This server asks for no keys, so it takes nothing from pages of other sites.")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches this address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _parts(address: str) -> SplitResult:
    """All of them are empty for what is no address, as most are of `null`, where a page hides its origin."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


def _check_trust(host: str, platform: Platform | None) -> None:
    if is_loopback(host):
        raise StartupError(f"keys: {PLATFORM!r} makes no sense on {host}, where no key is asked for")
    if platform is None:
        raise StartupError(
            f"keys: {PLATFORM!r} trusts the platform around a container, and this is none that is known: not "
            "SageMaker, Cloud Run, Container Apps or Azure ML; give a file of keys"
        )


def _missing(host: str, platform: Platform | None) -> str:
    say = (
        f"{host} can be reached from other machines, so keys are asked for: give their file with --keys or "
        "DORMOUSE_KEYS; `python -m infra.keys --file FILE issue --tenant NAME` makes one"
    )
    if platform is None:
        return say
    return f"{say}. Where {platform.name} asks everybody for {platform.identity}: DORMOUSE_KEYS={PLATFORM}"
