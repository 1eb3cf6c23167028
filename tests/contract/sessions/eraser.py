"""A process that erases a tenant, to be killed while it does; run as a module.

Where the store is a file it ends itself, by SIGKILL, before the statement that it was told; a server's
process is killed from outside.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time

from handler.sessions.sqlite import SqliteSessions
from tests.contract.sessions.stores import Place
from tests.contract.sessions.turns import TENANT


def main() -> None:
    """Arguments: kind, address and table of the place, and the number of the fatal statement."""
    kind, address, table, fatal = sys.argv[1:]
    store = Place(kind, address, table).open(time.time)
    if isinstance(store, SqliteSessions):
        numbers = itertools.count(1)

        def die(statement: str) -> None:
            if statement.startswith("DELETE") and next(numbers) == int(fatal):
                os.kill(os.getpid(), signal.SIGKILL)

        with store._file.read() as db:
            pass
        db.set_trace_callback(die)
    store.erase(TENANT)


if __name__ == "__main__":
    main()
