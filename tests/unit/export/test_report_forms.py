"""A section says the same in HTML and in Markdown, and the page needs nothing but itself."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from export.chart import svg
from export.markdown import document
from export.page import page
from export.section import Chart, Section, Series, Table

POINTS = ((1.0, 0.2), (2.0, 0.05), (4.0, 0.004))
CHART = Chart("Frontier", "size, MB", "KL, nats", (Series("int4 <b>", POINTS, ("a", "b|c", "")),), log_y=True)
SECTION = Section(
    "What & why",
    "why",
    ("Paragraph with <script>alert(1)</script>.",),
    (Table(("name", "value"), (("x|y", "1"), ("two\nlines", "2")), "A table", failed=(1,)),),
    (CHART,),
)


def test_the_page_needs_nothing_but_itself() -> None:
    """No script, no address, no file; what comes from outside is text, never markup."""
    html = page("Export of <model>", [SECTION])
    assert not re.search(r"<script|https?:|src=|@import|url\(|<link", html)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<title>Export of &lt;model&gt;</title>" in html


def test_the_page_follows_the_readers_light_or_dark() -> None:
    """Both schemes are in the style, and charts take their colours from it."""
    html = page("Export", [SECTION])
    assert "color-scheme:light dark" in html
    assert "prefers-color-scheme:dark" in html
    assert not re.search(r'(fill|stroke)="#', html)


def test_a_failed_row_is_marked() -> None:
    """The second row of the table, and no other."""
    html = page("Export", [SECTION])
    assert html.count('class="failed"') == 1
    assert html.index("x|y") < html.index('class="failed"') < html.index("two")


def test_markdown_says_what_the_page_says() -> None:
    """Cells stay cells, and a chart is the table of its points."""
    text = document("Export", [SECTION])
    assert "| x\\|y | 1 |" in text
    assert "| two lines | 2 |" in text
    assert "### Frontier" in text
    assert "| int4 <b> | b\\|c | 2 | 0.05 |" in text


@pytest.mark.parametrize("log_y", [False, True])
@pytest.mark.parametrize(
    "points", [POINTS, POINTS[:1], ((0.0, 3.0), (1.0, 3.0))], ids=["some", "one", "flat"]
)
def test_a_chart_is_sound_svg_within_its_frame(points: tuple[tuple[float, float], ...], log_y: bool) -> None:
    """Every point is drawn, inside, larger values further up; one point and equal ones are drawn as well."""
    root = ElementTree.fromstring(svg(Chart("Title", "x", "y", (Series("s", points),), True, log_y)))
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    circles = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in root.iter("circle")]
    assert len(circles) == len(points)
    assert all(0 < x < width and 0 < y < height for x, y in circles)
    highest = max(range(len(points)), key=lambda at: points[at][1])
    assert circles[highest][1] == min(y for _, y in circles)


def test_a_chart_without_points_is_nothing() -> None:
    """An empty measurement draws no empty frame."""
    assert svg(Chart("Title", "x", "y", (Series("s", ()),))) == ""
