"""One section of a report as plain values: what was found in words, tables and charts.

Owns nothing but the shape. Whoever measures something makes a section of it; the report alone knows how one
is written in Markdown and in HTML.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Table:
    """Rows of written cells; the first row of a reader's eye is `head`."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    failed: tuple[int, ...] = ()  # rows that say what is not as it should be


@dataclass(frozen=True)
class Series:
    """Points of one kind in a chart: (x, y) and the words beside each, empty for none."""

    name: str
    points: tuple[tuple[float, float], ...]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chart:
    """One chart; `line` joins the points of a series."""

    title: str
    x: str  # the axis in words, with its unit
    y: str
    series: tuple[Series, ...]
    line: bool = False
    log_y: bool = False  # all y above zero


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it; `facts` are the same findings for programs."""

    title: str
    key: str  # of the facts in report.json
    text: tuple[str, ...] = ()  # paragraphs
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
