"""Finding a Chromium on this machine and starting it so that it talks to nobody but the page's server."""

from __future__ import annotations

import shutil

from playwright.sync_api import Browser, Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium() -> str:
    """Return the path of a Chromium; raise with the way to install one when there is none."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    raise RuntimeError(
        f"The page is tested in a real browser, and none of {', '.join(NAMES)} is on PATH. "
        "On Debian or Ubuntu: apt-get update && apt-get install -y chromium"
    )


def launch(playwright: Playwright) -> Browser:
    """Start it, headless."""
    return playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
