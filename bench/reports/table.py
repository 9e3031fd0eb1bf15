"""A report as text, plain or as reStructuredText."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.reports.report import Report


def render(report: Report, *, rst: bool = False) -> str:
    """
    :param rst: as reStructuredText, to be put into the documentation.
    :returns: a table for each group, what was skipped, and remarks.
    """
    lines: list[str] = []
    for title, group in report.groups().items():
        rows = report.rows(group)
        rows[0][0] = title
        lines += [*(_rst(rows) if rst else _text(rows)), ""]
    skipped = [f"{group}: {name} skipped: {why}" for group, name, why in report.outcome.skipped]
    lines += skipped
    lines += report.remarks
    return "\n".join(lines).rstrip() + "\n"


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _text(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    first, *widths = _widths(rows)
    for row in rows:
        cells = (cell.rjust(width) for cell, width in zip(row[1:], widths, strict=True))
        yield "  ".join([row[0].ljust(first), *cells]).rstrip()


def _rst(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = _widths(rows)
    rule = "  ".join("=" * width for width in widths)
    for number, row in enumerate(rows):
        if number < 2:
            yield rule
        yield "  ".join(map(str.ljust, row, widths)).rstrip()
    yield rule
