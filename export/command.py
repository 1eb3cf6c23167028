"""A command of the export at the keyboard: what goes wrong is one line and an exit code.

Owns which errors are told in a line: those raised on purpose, and the operating system's. Anything else is a
bug and stays a traceback. What is told to end is interrupted, so that it cleans up. Knows no command.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

from export.errors import reason
from handler.errors import DormouseError
from handler.terminal import while_read


def run(name: str, command: Callable[[], int]) -> int:
    """The exit code of `command`, or 1 once it is said, after `name`, why there is none."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with while_read():
            return command()
        return 1  # nobody reads what it has to say
    except (DormouseError, OSError) as error:
        said = reason(error)
    except KeyboardInterrupt:
        said = "interrupted"
    finally:
        signal.signal(signal.SIGTERM, before)
    print(f"{name}: {said}", file=sys.stderr)
    return 1
