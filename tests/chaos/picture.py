"""Pictures of what was measured over time, as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 760, 120
_LEFT, _RIGHT, _TOP, _GAP = 80, 20, 40, 46
_COLOURS = ("#1f5fa8", "#c2571a", "#2d7d46", "#7a3b8f")
_STEPS = (1, 2, 2.5, 5, 10)
_FONT = 'font-family="sans-serif" font-size="12"'

Points = Sequence[tuple[float, float]]


class Panel(NamedTuple):
    """
    Curves over the same time.

    :ivar title: what they show, with its unit.
    :ivar curves: their names, and points of seconds and values.
    :ivar is_logarithmic: whether the scale is.
    """

    title: str
    curves: Sequence[tuple[str, Points]]
    is_logarithmic: bool = False


class Span(NamedTuple):
    """A time that is shown by a grey ground: from, to, in seconds, and what it is."""

    begin: float
    end: float
    title: str


def draw(title: str, panels: Sequence[Panel], spans: Sequence[Span] = ()) -> str:
    """:returns: the picture; panels are one below the other."""
    points = [point for panel in panels for _, curve in panel.curves for point in curve]
    seconds = max((second for second, _ in points), default=1.0) or 1.0
    height = _TOP + len(panels) * (_HEIGHT + _GAP)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + _RIGHT} {height}"'
        f' role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for number, panel in enumerate(panels):
        top = _TOP + number * (_HEIGHT + _GAP)
        lines += _Drawing(panel, top, seconds).lines(spans)
    return "\n".join([*lines, "</svg>", ""])


class _Drawing:
    """One panel at its place."""

    def __init__(self, panel: Panel, top: float, seconds: float) -> None:
        self._panel = panel
        self._top = top
        self._seconds = seconds
        values = [value for _, curve in panel.curves for _, value in curve]
        if panel.is_logarithmic:
            values = [value for value in values if value > 0] or [1.0]
            self._lowest = 10.0 ** math.floor(math.log10(min(values)))
            self._highest = 10.0 ** math.ceil(math.log10(max(values)) + 1e-9)
        else:
            self._lowest, self._highest = 0.0, max([*values, 1e-9]) * 1.1

    def lines(self, spans: Sequence[Span]) -> Iterator[str]:
        bottom = self._top + _HEIGHT
        for span in spans:
            left, right = self._x(span.begin), self._x(min(span.end, self._seconds))
            yield (
                f'<rect x="{left:.1f}" y="{self._top}" width="{right - left:.1f}" '
                f'height="{_HEIGHT}" fill="#eeeeee"><title>{escape(span.title)}</title></rect>'
            )
        yield self._text(_LEFT, self._top - 8, self._panel.title, "start", "font-weight='bold'")
        yield from self._legend()
        for value in self._ticks():
            y = self._y(value)
            yield f'<path d="M{_LEFT} {y:.1f}h{_WIDTH}" stroke="#cccccc" stroke-width="0.5"/>'
            yield self._text(_LEFT - 6, y + 4, f"{value:,.6g}", "end")
        for minute in self._minutes():
            yield self._text(self._x(minute * 60), bottom + 15, f"{minute:g} min", "middle")
        axes = f"M{_LEFT} {self._top}V{bottom}H{_LEFT + _WIDTH}"
        yield f'<path d="{axes}" stroke="black" fill="none"/>'
        for number, (_, curve) in enumerate(self._panel.curves):
            path = " ".join(
                f"{self._x(second):.1f},{self._y(value):.1f}" for second, value in curve
            )
            colour = _COLOURS[number % len(_COLOURS)]
            yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.3"/>'

    def _legend(self) -> Iterator[str]:
        if len(self._panel.curves) < 2:
            return
        for number, (name, _) in enumerate(reversed(self._panel.curves)):
            colour = _COLOURS[(len(self._panel.curves) - 1 - number) % len(_COLOURS)]
            x = _LEFT + _WIDTH - 130 * number
            yield self._text(x, self._top - 8, name, "end", f"fill='{colour}'")

    def _text(self, x: float, y: float, text: str, anchor: str, more: str = "") -> str:
        place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
        return f"<text {place} {_FONT} {more}>{escape(text)}</text>"

    def _x(self, second: float) -> float:
        return _LEFT + _WIDTH * second / self._seconds

    def _y(self, value: float) -> float:
        low, high = self._lowest, self._highest
        if self._panel.is_logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(max(value, low))
        return self._top + _HEIGHT * (1 - (value - low) / (high - low))

    def _ticks(self) -> Iterator[float]:
        if self._panel.is_logarithmic:
            value = self._lowest
            while value <= self._highest * 1.001:
                yield value
                value *= 10
            return
        step = _step(self._highest / 4)
        for number in range(int(self._highest / step) + 1):
            yield number * step

    def _minutes(self) -> Iterator[float]:
        step = _step(self._seconds / 60 / 8)
        for number in range(int(self._seconds / 60 / step + 1e-9) + 1):
            yield number * step


def _step(least: float) -> float:
    """:returns: a round number that is not less."""
    power: float = 10.0 ** math.floor(math.log10(least))
    return power * next(step for step in _STEPS if step * power >= least * 0.999)
