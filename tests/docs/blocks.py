"""The blocks of code in the documentation."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
PAGES = (
    ROOT / "README.rst",
    ROOT / "CONTRIBUTING.rst",
    *sorted(DOCS.glob("*.rst")),
    *sorted((ROOT / "examples").glob("*/README.rst")),
)

_DIRECTIVE = re.compile(r"( *)\.\. code-block:: (\w+)")
_LITERAL = re.compile(r"( *)(?!\.\. ).*::")


class Block(NamedTuple):
    """
    A block of code.

    :param page: file that it is in.
    :param line: of its first line, from 1.
    :param language: as the directive names it; empty where there is none.
    :param text: without its indentation.
    """

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def find_blocks(page: Path) -> list[Block]:
    """:returns: every ``code-block`` and every literal block of a page."""
    own = page.parent in (ROOT, DOCS)
    name = page.name if own else f"{page.parent.name}/{page.name}"
    return blocks_of(name, page.read_text(encoding="utf-8"))


def blocks_of(name: str, text: str) -> list[Block]:
    """:returns: the same of a text, such as a docstring."""
    return list(_find(name, text.splitlines()))


def _find(page: str, lines: list[str]) -> Iterator[Block]:
    number = 0
    while number < len(lines):
        directive = _DIRECTIVE.fullmatch(lines[number])
        match = directive or _LITERAL.fullmatch(lines[number])
        number += 1
        if match is None:
            continue
        first = number
        while number < len(lines) and _belongs(lines[number], len(match[1])):
            number += 1
        code = lines[first:number]
        # Options of the directive stand before the first blank line.
        skipped = code.index("") + 1 if "" in code else 0
        text = textwrap.dedent("\n".join(code[skipped:])).strip("\n") + "\n"
        yield Block(page, first + skipped + 1, directive[2] if directive else "", text)


def _belongs(line: str, indentation: int) -> bool:
    return not line.strip() or len(line) - len(line.lstrip()) > indentation


def python_blocks(page: Path) -> list[Block]:
    """:returns: those in Python."""
    return [block for block in find_blocks(page) if block.language == "python"]
