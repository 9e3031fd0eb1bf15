"""Patterns of names, in which ``*`` stands for any run of characters."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Generic, TypeVar

from guerrilla_tw.mail.domains import to_a_labels

T = TypeVar("T")


def host_pattern(text: str) -> str:
    """
    Give a pattern of hosts the form that hosts are compared in.

    :param text: a host's name in any case, with A-labels or U-labels (RFC 5890); ``*`` may stand in
        a label that is ASCII otherwise. Or an address literal in brackets, with or without its tag.
    :returns: it in lower case, with A-labels; an address literal in its usual form, without tag.
    :raises ValueError: what stands in brackets is no IP address, or a label is not valid. The text
        names it.
    """
    try:
        # IDNA admits no star in a label that is not ASCII.
        name = to_a_labels(text).lower()
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None
    if name.startswith("[") and name.endswith("]"):
        return f"[{ip_address(name[1:-1].removeprefix('ipv6:'))}]"
    return name


class Patterns(Generic[T]):
    """
    Values by pattern, and quick to find for a name, however many patterns there are.

    A pattern without a star is looked up; one with stars is tried only on names that begin as it
    does up to its first star, and end as it does from its last.
    """

    def __init__(self) -> None:
        self._values: dict[str, T] = {}
        # What stands before the first star, and behind the last -> the pieces between, the value.
        self._wild: dict[tuple[str, str], list[tuple[list[str], T]]] = {}
        # The lengths of these two, so that no other parts of a name are looked up.
        self._lengths: set[tuple[int, int]] = set()

    def setdefault(self, pattern: str, value: T) -> T:
        """
        Add a value, unless the same pattern has one already.

        :returns: the value that the pattern has now.
        """
        if pattern in self._values:
            return self._values[pattern]
        self._values[pattern] = value
        first, *pieces = pattern.split("*")
        if pieces:
            *between, last = pieces
            self._wild.setdefault((first, last), []).append((between, value))
            self._lengths.add((len(first), len(last)))
        return value

    def find(self, name: str) -> Iterator[T]:
        """
        Find what a name fits. Not by regular expressions: with some stars, those take a time with
        the number of stars as its power.

        :param name: to be compared as it is, so in the case that the patterns have.
        :returns: the values of all patterns that it fits.
        """
        if name in self._values:
            yield self._values[name]
        for start, behind in self._lengths:
            end = len(name) - behind
            if start <= end:
                for between, value in self._wild.get((name[:start], name[end:]), ()):
                    if _has_in_order(name, start, end, between):
                        yield value


def _has_in_order(name: str, start: int, end: int, pieces: list[str]) -> bool:
    for piece in pieces:
        # The earliest place leaves the most room for the others.
        found = name.find(piece, start, end)
        if found < 0:
            return False
        start = found + len(piece)
    return True
