"""The README's pictures of the page: real conversations with the embedded model, in a real browser.

    python -m tests.e2e.page.screenshots docs/images [--bundle models/house/bundle]

The pictures take the fonts of this machine; with Debian's fonts-inter and fonts-noto-cjk they look as they
do in the repository.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from tests.e2e.page.chat_page import ChatPage
from tests.e2e.page.chromium import launch
from tests.e2e.server import Server

COLOURS = 256
EARLIER = ["What is a cold start?", "什么是量化？", "How much does it cost?"]
ENGLISH = ["My name is Wren.", "How do I deploy Dormouse to AWS?", "What is my name?"]
CHINESE = ["Dormouse 是什么？", "什么是冷启动？", "数据会离开我的账号吗？"]


@dataclass(frozen=True)
class Shot:
    """One picture: who looks at what, and what they say before it is taken."""

    name: str
    size: tuple[int, int]
    scheme: str
    locale: str
    messages: Sequence[str]
    scale: float = 1.0


SHOTS = [
    Shot("desktop-light", (1280, 800), "light", "en-US", ENGLISH),
    Shot("desktop-dark", (1280, 800), "dark", "en-US", []),
    Shot("phone-light", (390, 844), "light", "en-US", [], 2.0),
    Shot("phone-dark", (390, 844), "dark", "zh-CN", CHINESE, 2.0),
]


def main() -> None:
    """Take every picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--bundle", type=Path, default=Path("models/house/bundle"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = launch(playwright)
        for shot in SHOTS:
            sessions = Path(folder) / f"{shot.name}.sqlite3"
            with Server(options.bundle, sessions, Path(folder) / "log") as server:
                picture = take(browser, f"{server.url}/", shot)
            path = options.out / f"{shot.name}.png"
            path.write_bytes(picture)
            print(f"{path}  {len(picture) // 1024} KiB")
        browser.close()


def take(browser: Browser, address: str, shot: Shot) -> bytes:
    """Hold the conversations as a visitor would, and return the picture as a PNG."""
    width, height = shot.size
    context = browser.new_context(
        viewport={"width": width, "height": height},
        device_scale_factor=shot.scale,
        color_scheme="dark" if shot.scheme == "dark" else "light",
        locale=shot.locale,
    )
    page = context.new_page()
    page.goto(address)
    chat = ChatPage(page, address)
    page.evaluate("change({temperature: 0})")
    for message in EARLIER:
        chat.ask(message)
        page.evaluate("go(null)")
    for message in shot.messages:
        chat.ask(message)
    page.mouse.move(0, 0)
    page.wait_for_timeout(300)  # the hover and focus transitions
    picture = page.screenshot()
    context.close()
    return _small(picture)


def _small(picture: bytes) -> bytes:
    """Reduce a PNG to a palette: the page has few colours, and anti-aliasing blends only those."""
    out = io.BytesIO()
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


if __name__ == "__main__":
    main()
