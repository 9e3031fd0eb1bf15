"""A report as a picture: bars in SVG, which a browser, and a page of documentation, can show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from bench.figures import METRICS, Result
from bench.reports.report import Report

# In pixels.
_WIDTH, _ROW, _BAR, _GAP, _LEFT, _RIGHT = 760, 22, 14, 18, 220, 130
_STYLE = """\
text { font: 13px sans-serif; fill: #24292f }
.title { font-weight: bold }
.bar { fill: #9db4c8 }
.ours { fill: #1f6fb2 }
.spread { stroke: #24292f; stroke-width: 1.5 }
.ground { fill: #ffffff }
"""


def render(report: Report) -> str:
    """:returns: a picture with bars of the medians, and lines from the least to the most."""
    metric = report.compared
    groups = {
        title: [result for result in group if metric in result.figures]
        for title, group in report.groups().items()
    }
    height = _GAP + sum(_ROW * (len(group) + 1) + _GAP for group in groups.values())
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img">',
        f"<title>{escape(METRICS[metric].heading)}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="ground" width="{_WIDTH}" height="{height}"/>',
    ]
    top = _GAP
    for title, group in groups.items():
        heading = escape(f"{title}: {METRICS[metric].heading}")
        parts.append(f'<text class="title" x="10" y="{top + _BAR}">{heading}</text>')
        parts += _bars(group, metric, top + _ROW)
        top += _ROW * (len(group) + 1) + _GAP
    return "\n".join([*parts, "</svg>", ""])


def _bars(group: Sequence[Result], metric: str, top: float) -> Iterator[str]:
    most = max((max(result.figures[metric]) for result in group), default=0) or 1
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    for result in group:
        figures = result.figures[metric]
        median = result.median(metric)
        middle = top + _BAR / 2
        kind = "bar ours" if result.name.startswith("guerrilla_tw") else "bar"
        ends = [_LEFT + scale * end for end in (min(figures), max(figures))]
        yield f'<text x="10" y="{top + _BAR - 2}">{escape(result.name)}</text>'
        yield (
            f'<rect class="{kind}" x="{_LEFT}" y="{top}" '
            f'width="{median * scale:.1f}" height="{_BAR}"/>'
        )
        yield (
            f'<line class="spread" x1="{ends[0]:.1f}" y1="{middle}" '
            f'x2="{ends[1]:.1f}" y2="{middle}"/>'
        )
        text = METRICS[metric].text(median)
        yield f'<text x="{ends[1] + 6:.1f}" y="{top + _BAR - 2}">{text}</text>'
        top += _ROW
