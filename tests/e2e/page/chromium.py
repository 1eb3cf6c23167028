"""Finding a Chromium on this machine and starting it so that it talks to nobody but the page's server."""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import Browser, Playwright, sync_playwright

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


def find_chromium(playwright: Playwright) -> str:
    """Return the path of a Chromium, the system's or playwright's own.

    Raises: RuntimeError with the way to install one when there is none.
    """
    for path in (*map(shutil.which, NAMES), playwright.chromium.executable_path):
        if path and Path(path).is_file():
            return path
    raise RuntimeError(
        f"The page is tested in a real browser, and none of {', '.join(NAMES)} is on PATH, nor is "
        "playwright's own here: .venv/dev/bin/python -m playwright install chromium"
    )


def launch(playwright: Playwright) -> Browser:
    """Start it, headless."""
    return playwright.chromium.launch(executable_path=find_chromium(playwright), args=FLAGS)


if __name__ == "__main__":  # is there one? `make browser` asks
    with sync_playwright() as found:
        print(find_chromium(found))
