"""The page as it is served: its bytes, and the headers under which it can load and reach nothing but us.

It knows nothing of what the page does; whatever script and style stand in `page.html` are the only ones a
browser will run there, by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

_BLOCK = r"<{tag}>(.*?)</{tag}>"
_LOCKED = (
    "default-src 'none'; script-src {script}; style-src {style}; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def read_page() -> str:
    """Read the page's text, the same in the repository and in the artifact."""
    return Path(__file__).with_name("page.html").read_text(encoding="utf-8")


def page_headers(page: str) -> dict[str, str]:
    """Make the headers that lock a page in.

    Source: https://www.w3.org/TR/CSP3/#grammardef-hash-source
    """
    policy = _LOCKED.format(script=_hashes(page, "script"), style=_hashes(page, "style"))
    return {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"}


def _hashes(page: str, tag: str) -> str:
    blocks = re.findall(_BLOCK.format(tag=tag), page, flags=re.DOTALL)
    digests = (hashlib.sha256(block.encode()).digest() for block in blocks)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
