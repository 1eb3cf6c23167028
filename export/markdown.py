"""Sections in Markdown: paragraphs and tables; a chart becomes the name of its file, where it has one.

Owns the notation. Does not know what a section says.
"""

from __future__ import annotations

from collections.abc import Sequence

from export.section import Section, Table


def section_lines(section: Section, level: int = 2, charts: Sequence[str] = ()) -> list[str]:
    """A section; `charts` are addresses of its charts' pictures, as many as are drawn."""
    lines = [f"{'#' * level} {section.title}", ""]
    for paragraph in section.text:
        lines += [paragraph, ""]
    for table in section.tables:
        lines += [*([f"**{table.title}**", ""] if table.title else []), *table_lines(table), ""]
    for chart, address in zip(section.charts, charts, strict=False):
        lines += [f"![{chart.title}]({address})", ""]
    return lines


def table_lines(table: Table) -> list[str]:
    """A table, cells as they are written."""
    return [_row(table.head), "|" + "---|" * len(table.head), *map(_row, table.rows)]


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
