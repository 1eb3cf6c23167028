"""A chart of a section as SVG: axes, ticks, series, the words beside the points.

Owns the drawing alone. Colours are the page's (`currentColor` and the classes `s0` to `s5`), so that one
picture serves light and dark, and nothing in it depends on fonts or on the day it is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from export.section import Chart, Series

WIDTH, HEIGHT = 680, 320
LEFT, RIGHT, TOP, BOTTOM = 74, 20, 16, 48
COLOURS = 6
TICKS = 5


@dataclass(frozen=True)
class Axis:
    """Values onto pixels, from `start` to `stop` in both."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value."""
        low, high, value = map(self._scaled, (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.stop - self.start)

    def ticks(self) -> list[float]:
        """Round values within: powers of ten, or steps of 1, 2 or 5 of one."""
        if self.log:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            step = max(1, (last - first) // TICKS)
            return [10.0**power for power in range(first, last + 1, step)]
        rough = (self.high - self.low) / TICKS
        magnitude = 10 ** math.floor(math.log10(rough))
        step = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= rough * 0.999)
        return [i * step for i in range(math.ceil(self.low / step), math.floor(self.high / step + 1e-9) + 1)]

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.log else value


def svg(chart: Chart) -> str:
    """The picture; words for those who cannot see it stand in its title."""
    points = [point for series in chart.series for point in series.points]
    if not points:
        return ""
    x = _axis([p[0] for p in points], LEFT, WIDTH - RIGHT)
    y = _axis([p[1] for p in points], HEIGHT - BOTTOM, TOP, log=chart.log_y)
    drawn = [_tick_x(x, value) for value in x.ticks()] + [_tick_y(y, value) for value in y.ticks()]
    for index, series in enumerate(chart.series):
        drawn += _series(series, f"s{index % COLOURS}", x, y, chart)
    middle = (LEFT + WIDTH - RIGHT) / 2
    drawn.append(_text(middle, HEIGHT - 8, chart.x, "middle"))
    centre = (TOP + HEIGHT - BOTTOM) / 2
    drawn.append(
        f'<text x="14" y="{centre:.1f}" text-anchor="middle" transform="rotate(-90 14 {centre:.1f})">'
        f"{escape(chart.y)}</text>"
    )
    title = escape(f"{chart.title}: {chart.y} over {chart.x}")
    body = "\n".join(drawn)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{title}</title>\n{body}\n</svg>'


def _axis(values: Sequence[float], start: float, stop: float, *, log: bool = False) -> Axis:
    """From just below the least value to just above the greatest; zero is shown where it is near."""
    low, high = min(values), max(values)
    if log:
        return Axis(low / 1.5, high * 1.5, start, stop, log=True)
    margin = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    near_zero = 0 <= low < 0.4 * high
    return Axis(0.0 if near_zero else low - margin, high + margin, start, stop)


def _series(series: Series, style: str, x: Axis, y: Axis, chart: Chart) -> list[str]:
    places = [(x.at(a), y.at(b)) for a, b in series.points]
    drawn = []
    if chart.line:
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        drawn.append(f'<polyline class="{style}" fill="none" points="{path}"/>')
    radius = 2.5 if chart.line else 4.5
    for index, ((a, b), value) in enumerate(zip(places, series.points, strict=True)):
        words = series.labels[index] if index < len(series.labels) else ""
        said = f"{series.name} {words}: {_number(value[0])}, {_number(value[1])}"
        drawn.append(
            f'<circle class="{style}" cx="{a:.1f}" cy="{b:.1f}" r="{radius}"><title>{escape(said)}</title>'
            "</circle>"
        )
        if words:
            ends = a > WIDTH - 160  # words at the right edge stand to the left of their point
            drawn.append(_text(a - 8 if ends else a + 8, b - 6, words, "end" if ends else "start"))
    return drawn


def _tick_x(axis: Axis, value: float) -> str:
    at = axis.at(value)
    line = f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
    return line + _text(at, HEIGHT - BOTTOM + 16, _number(value), "middle")


def _tick_y(axis: Axis, value: float) -> str:
    at = axis.at(value)
    line = f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
    return line + _text(LEFT - 6, at + 4, _number(value), "end")


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
