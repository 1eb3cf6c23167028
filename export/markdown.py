"""Sections as Markdown; a chart becomes the table of its points.

Owns the form. Does not know what a section says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from export.section import Chart, Section, Table


def document(title: str, sections: Sequence[Section]) -> str:
    """The whole document."""
    lines = [f"# {title}"]
    for section in sections:
        lines += ["", *section_lines(section)]
    return "\n".join(lines) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    return [_row(head), "|" + "---|" * len(head), *map(_row, rows)]


def section_lines(section: Section) -> Iterator[str]:
    """The lines of one section, its heading first."""
    yield f"## {section.title}"
    for paragraph in section.text:
        yield from ("", paragraph)
    for each in (*section.tables, *map(_points, section.charts)):
        if each.title:
            yield from ("", f"### {each.title}")
        yield from ("", *table(each.head, each.rows))


def _points(chart: Chart) -> Table:
    rows = [
        (series.name, series.labels[at] if at < len(series.labels) else "", f"{x:.4g}", f"{y:.4g}")
        for series in chart.series
        for at, (x, y) in enumerate(series.points)
    ]
    if not any(row[1] for row in rows):
        return Table(("", chart.x, chart.y), tuple((a, c, d) for a, _, c, d in rows), chart.title)
    return Table(("", "", chart.x, chart.y), tuple(rows), chart.title)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"
