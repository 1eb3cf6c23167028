"""Sections as an HTML page that needs no network and no script; light or dark as its reader has it.

Owns the page's look. Does not know what a section says.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from export.chart import COLOURS, svg
from export.section import Chart, Section, Table

STYLE = """\
:root{color-scheme:light dark;--ground:#fdfcf9;--ink:#23262b;--faint:#6c7077;--rule:#dcd8cf;--bad:#b3261e;
--s0:#2f6f5e;--s1:#b5651d;--s2:#4a67a8;--s3:#8b4a86;--s4:#7b7a28;--s5:#a13d52}
@media(prefers-color-scheme:dark){:root{--ground:#16181c;--ink:#e4e2dc;--faint:#9a9da3;--rule:#35393f;
--bad:#ff8a80;--s0:#7cc4ae;--s1:#e0a06a;--s2:#93b1ee;--s3:#cf9acb;--s4:#c4c26b;--s5:#ee92a5}}
body{margin:0 auto;max-width:54rem;padding:2rem 1rem 4rem;background:var(--ground);color:var(--ink);
font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.6rem;line-height:1.2}h2{font-size:1.2rem;margin-top:2.4rem}
h3{font-size:1rem;margin:1.6rem 0 .4rem}nav{color:var(--faint);font-size:.9rem}nav a{margin-right:1rem}
a{color:var(--s0)}.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;min-width:50%}
th,td{padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--rule);text-align:left;vertical-align:top}
th,td:not(:last-child){white-space:nowrap}td:last-child{overflow-wrap:anywhere;min-width:6rem}
th{color:var(--faint);font-weight:600}.failed td{color:var(--bad);font-weight:600}
svg{width:100%;height:auto}svg text{fill:var(--faint);font:12px system-ui,sans-serif}
.grid{stroke:var(--rule)}.legend{font-size:.85rem;color:var(--faint)}.legend span{margin-right:1.2rem}
.dot{display:inline-block;width:.7em;height:.7em;border-radius:50%;margin-right:.4em}
"""
SERIES = "".join(
    f"circle.s{i}{{fill:var(--s{i})}}polyline.s{i}{{stroke:var(--s{i});stroke-width:2}}"
    f".dot.s{i}{{background:var(--s{i})}}"
    for i in range(COLOURS)
)


def page(title: str, sections: Sequence[Section]) -> str:
    """The whole document."""
    links = "".join(f'<a href="#{escape(each.key)}">{escape(each.title)}</a>' for each in sections)
    body = "\n".join(map(_section, sections))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}{SERIES}\n</style></head>\n"
        f"<body>\n<h1>{escape(title)}</h1>\n<nav>{links}</nav>\n{body}\n</body></html>\n"
    )


def _section(section: Section) -> str:
    parts = [f'<section id="{escape(section.key)}"><h2>{escape(section.title)}</h2>']
    parts += [f"<p>{escape(paragraph)}</p>" for paragraph in section.text]
    parts += map(_chart, section.charts)
    parts += map(_table, section.tables)
    return "\n".join([*parts, "</section>"])


def _table(table: Table) -> str:
    title = f"<h3>{escape(table.title)}</h3>" if table.title else ""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.head)
    rows = "\n".join(_row(table, index, row) for index, row in enumerate(table.rows))
    return (
        f'{title}<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _row(table: Table, index: int, row: Sequence[str]) -> str:
    style = ' class="failed"' if index in table.failed else ""
    return f"<tr{style}>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"


def _chart(chart: Chart) -> str:
    named = [
        f'<span><i class="dot s{index % COLOURS}"></i>{escape(series.name)}</span>'
        for index, series in enumerate(chart.series)
    ]
    legend = f'<div class="legend">{"".join(named)}</div>' if len(named) > 1 else ""
    return f"<h3>{escape(chart.title)}</h3>{legend}{svg(chart)}"
