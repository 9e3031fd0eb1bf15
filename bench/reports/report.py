"""A report: all that came out, before it has a form."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from bench.figures import METRICS, Result, bottleneck
from bench.rounds import Outcome

#: A cell of a table, from the row and the others of its group.
Cell = Callable[[Result, Sequence[Result]], str]

#: Compares rows with the first of their group.
FIRST = "the first"


@dataclass(frozen=True)
class Report:
    """
    :param experiment: its name.
    :param columns: metrics of the table.
    :param outcome: what came out.
    :param reference: row of each group that the others are compared with, by :attr:`compared`; it
        may be :data:`FIRST`.
    :param compared: a metric, of the picture as well.
    :param bound: whether to say what had no time left.
    :param remarks: what else there is to say.
    :param absent: stands where a row has no figure and others have one.
    """

    experiment: str
    columns: Sequence[str]
    outcome: Outcome
    reference: str = ""
    compared: str = "cost"
    bound: bool = False
    remarks: Sequence[str] = ()
    absent: str = ""

    def groups(self) -> Mapping[str, Sequence[Result]]:
        """:returns: the rows of each table."""
        groups: dict[str, list[Result]] = {}
        for result in self.outcome.results:
            groups.setdefault(result.group, []).append(result)
        return groups

    def rows(self, group: Sequence[Result]) -> list[list[str]]:
        """:returns: cells of a table, with a row of headings first, and a column of names."""
        cells: dict[str, Cell] = {}
        for name in self.columns:
            if any(name in result.figures for result in group):
                cells[METRICS[name].heading] = partial(self._figure, name)
                if name == self.compared and self.reference:
                    cells[f"to {self.reference}"] = self._share
        if self.bound and all("alone" in result.figures for result in group):
            cells["no time left"] = _bound
        rows = [["", *cells]]
        rows += ([each.name, *(cell(each, group) for cell in cells.values())] for each in group)
        return rows

    def _figure(self, name: str, result: Result, group: Sequence[Result]) -> str:
        if name not in result.figures:
            return self.absent
        metric, figures = METRICS[name], result.figures[name]
        text = metric.text(result.median(name))
        if metric.spread and len(figures) > 1:
            text += f" ({metric.text(min(figures))} to {metric.text(max(figures))})"
        return text

    def _share(self, result: Result, group: Sequence[Result]) -> str:
        for other in group:
            if self.reference in (FIRST, other.name):
                base = other.figures.get(self.compared) and other.median(self.compared)
                return f"{result.median(self.compared) / base:.2f}" if base else ""
        return ""


def _bound(result: Result, group: Sequence[Result]) -> str:
    return bottleneck(result.medians(), os.cpu_count() or 1)
