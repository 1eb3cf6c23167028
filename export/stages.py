"""The stages of an export on the terminal: one line and, where it is long, one bar each.

Owns what is shown and how long each stage took. Does not know what the stages do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text


class Stages:
    """Shows stages on `console`; `seconds` says how long each took, as often as it was gone through."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, detail: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """One stage; call what it yields with each amount done of `total`."""
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
        line, started = f"{name:<10} {detail}", time.perf_counter()
        hidden = not self._console.is_terminal  # a log gets the line alone
        with Progress(*columns, console=self._console, transient=True, disable=hidden) as progress:
            task = progress.add_task(line, total=total)
            yield lambda amount: progress.advance(task, amount)
        took_s = time.perf_counter() - started
        self.seconds[name] = self.seconds.get(name, 0.0) + took_s
        self._console.print(Text.assemble(line, (f"  {took_s:.1f} s", "dim")), soft_wrap=True)

    def note(self, line: str) -> None:
        """Say one thing that is no stage."""
        self._console.print(Text(line), soft_wrap=True)

    def anew(self) -> Stages:
        """Others on the same console, of which none was gone through yet."""
        return Stages(self._console)
