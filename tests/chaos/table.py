"""What came of many rounds, by fault and store."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.chaos.judge import Verdict, cause
from tests.chaos.plan import SPOOLS, Plan
from tests.integration.stores import STORES

_COLUMNS = (
    *("Fault", "Store", "Rounds", "Sent", "250", "Refused", "No reply", "Aborted"),
    *("Lost", "Doubled", "Left over"),
)
_TOTAL = "all"


@dataclass
class Cell:
    """What came of a fault of a store: as :class:`.Verdict`, of all rounds together."""

    rounds: int = 0
    sent: int = 0
    acknowledged: int = 0
    refused: int = 0
    broken: int = 0
    aborted: int = 0
    lost: int = 0
    doubled: int = 0
    left: int = 0
    again: int = 0
    causes: Counter[str] = field(default_factory=Counter)

    def add(self, verdict: Verdict) -> None:
        """Take a round into account."""
        self.rounds += 1
        for name in ("sent", "acknowledged", "refused", "broken", "aborted", "again"):
            setattr(self, name, getattr(self, name) + getattr(verdict, name))
        self.lost += len(verdict.lost)
        self.doubled += len(verdict.doubled)
        self.left += verdict.leftovers.total()
        for outcome, count in verdict.leftovers.items():
            self.causes[cause(outcome)] += count

    def row(self) -> list[str]:
        """:returns: what stands in the table."""
        told = (self.acknowledged, self.refused, self.broken, self.aborted)
        counts = (self.rounds, self.sent, *told)
        return [f"{count:,}" for count in (*counts, self.lost, self.doubled, self.left)]


class Table:
    """All cells of a run."""

    def __init__(self) -> None:
        self.cells: dict[tuple[str, str], Cell] = {}
        self.total = Cell()

    def add(self, plan: Plan, verdict: Verdict) -> None:
        """Take a round into account."""
        self.cells.setdefault((plan.fault, plan.row), Cell()).add(verdict)
        self.total.add(verdict)

    def rows(self) -> list[list[str]]:
        """:returns: all, with their titles."""
        found = [
            [fault, _title(row), *cell.row()] for (fault, row), cell in sorted(self.cells.items())
        ]
        return [[*_COLUMNS], *found, [_TOTAL, "", *self.total.row()]]

    def causes(self) -> list[str]:
        """:returns: why there are messages that nobody was told are stored, and how many."""
        return [f"{count:,}: {text}" for text, count in self.total.causes.most_common()]

    def text(self) -> str:
        """:returns: for people."""
        return "\n".join([*_aligned(self.rows()), "", "Left over:", *self.causes()])

    def rst(self, command: str) -> str:
        """
        :param command: that had the rounds.
        :returns: for a page of the documentation.
        """
        rows = self.rows()
        rule = "  ".join("=" * width for width in _widths(rows))
        lines = [*_aligned(rows)]
        # Without a text in its first column a line goes on with the one before.
        table = [rule, lines[0], rule, *lines[1:], rule]
        causes = [f"- {line}" for line in self.causes()] or ["- none"]
        made = [f"{self.total.rounds:,} rounds::", "", f"    .venv/bin/{command}"]
        return "\n".join(
            [
                ".. Written by tests.chaos.",
                "",
                *table,
                "",
                "Left over, by what the client was told:",
                "",
                *causes,
                "",
                *made,
                "",
            ]
        )

    def json(self, command: str) -> str:
        """:returns: for programs."""
        cells = [
            {"fault": fault, "store": row, **vars(cell)}
            for (fault, row), cell in sorted(self.cells.items())
        ]
        return json.dumps({"command": command, "cells": cells, "total": vars(self.total)}, indent=1)


def _title(row: str) -> str:
    return f"spool, {SPOOLS[row]}" if row in SPOOLS else STORES[row].title


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = _widths(rows)
    adjust: Callable[[str, int], str] = str.ljust
    return ["  ".join(map(adjust, row, widths)).rstrip() for row in rows]
