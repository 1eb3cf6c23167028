"""Who may come in: anybody on loopback; whoever has a key of the file; or whoever a platform has let through.

Knows no sockets and no requests. The last of the three is never assumed, and believed only on a platform.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path

from handler.errors import StartupError
from handler.key_file import KeyFile
from handler.platforms import Platform

PLATFORM = "platform"
"""The value of `DORMOUSE_KEYS` that leaves it to the platform around us."""


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


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches this address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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
