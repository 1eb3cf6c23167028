"""Standard output, for as long as somebody reads it. Knows nothing of what is said there."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def while_read() -> Iterator[None]:
    """Print within: where nobody reads on (`| head`, a `tee` that Ctrl-C has ended), it ends without a word.

    Source: https://docs.python.org/3/library/signal.html#note-on-sigpipe
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What is left in the buffer goes nowhere, or Python's own last flush would complain of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
