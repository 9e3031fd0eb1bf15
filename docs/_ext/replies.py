"""A directive for the table of replies: the codes and texts out of the code, the rest of a file."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from sphinx.util.docutils import SphinxDirective
from twisted.python.reflect import namedAny

if TYPE_CHECKING:
    from sphinx.application import Sphinx

REPLIES = Path(__file__).resolve().parent.parent / "replies.csv"


def text_of(row: dict[str, str]) -> str:
    """:returns: a reply as the client reads it, without its line end."""
    if row["text"]:
        return row["text"]
    value = namedAny(f"guerrilla_tw.{row['constant']}")
    if isinstance(value, bytes):
        return value.decode("ascii").rstrip("\r\n")
    return f"{value.code} {value.enhanced} {value.text}"


class Replies(SphinxDirective):
    """``.. replies:: GROUP``: the replies of a group of ``replies.csv``, by their codes."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """:returns: the table."""
        self.env.note_dependency(str(REPLIES))
        with REPLIES.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["group"] == self.arguments[0]]
        if not rows:
            raise self.error(f"{REPLIES.name} has no {self.arguments[0]}")
        lines = [".. list-table::", "   :header-rows: 1", "   :widths: 45 55", ""]
        lines += ["   * - Reply", "     - When"]
        for row in sorted(rows, key=text_of):
            lines += [f"   * - ``{text_of(row)}``", f"     - {row['when']}"]
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Sphinx) -> dict[str, bool]:
    """Make the directive known."""
    app.add_directive("replies", Replies)
    return {"parallel_read_safe": True}
